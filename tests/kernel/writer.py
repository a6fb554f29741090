"""Who changes things all the time, whatever happens to the daemon, and knows what was acknowledged."""

import base64
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from asking import PATIENCE_SECONDS, Asker
from daemons import Daemon

VALUE_BYTES = 2000
PRUNE_EVERY = 200  # a secret has 1000 versions at most


class Writer:
    """Rotates ``turning``, grants and revokes ``coming``, and creates secrets, in turn. ``looking`` is a task in which
    each acknowledged change must show at once, unless the answer says that it does not yet.
    """

    def __init__(self, daemon: Daemon, service: str, looking, values: list[bytes]) -> None:
        self._asker = Asker(daemon)
        self._service = service
        self._looking = looking
        self._values = values
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._done: Future[None] | None = None
        self._acknowledged = threading.Semaphore(0)
        self.created: list[str] = []  # ids
        self.changes = 0
        self.late = 0

    def start(self) -> None:
        self._done = self._thread.submit(self._write)

    def is_well(self) -> bool:
        """Whether it still writes; raises what went wrong."""
        assert self._done
        return not self._done.done() or self._done.result() is None

    def until_acknowledged(self) -> None:
        """Wait for the next answer; another request follows at once."""
        while self._acknowledged.acquire(blocking=False):
            continue
        self._acknowledged.acquire(timeout=PATIENCE_SECONDS)

    def stop(self) -> None:
        """Let it finish its change; raises what went wrong."""
        self._over.set()
        assert self._done
        self._done.result(2 * PATIENCE_SECONDS)

    def _write(self) -> None:
        while not self._over.is_set():
            self._rotate()
            self._grant(coming=self.changes % 2 == 0)
            self._create()
            self.changes += 1

    def _rotate(self) -> None:
        value = self._values[self.changes % len(self._values)]
        answer = self._asker.rotate("turning", base64.b64encode(value).decode(), drain=1)
        self._acknowledged.release()
        self._shows(answer, "turning", value)
        if self.changes % PRUNE_EVERY == PRUNE_EVERY - 1:
            self._asker.ask("POST", "/secretfs/v1/secrets/turning/prune", {"Keep": 5})
            self._acknowledged.release()

    def _grant(self, *, coming: bool) -> None:
        names = ["steady", "turning", *(["coming"] if coming else [])]
        answer = self._asker.grant(self._service, {name: name for name in names})
        self._acknowledged.release()
        self._shows(answer, "coming", self._values[0] if coming else "ENOENT")

    def _create(self) -> None:
        """One that was made and not acknowledged is there, and the name taken: the next attempt has another."""
        attempts = iter(range(1000))
        data = base64.b64encode(self._values[0]).decode()
        answer = self._asker.until_acknowledged(
            lambda: ("POST", "/secrets/create", {"Name": f"made-{self.changes}-{next(attempts)}", "Data": data})
        )
        self._acknowledged.release()
        self.created.append(answer["ID"])

    def _shows(self, answer: dict, target: str, expected: object) -> None:
        """At once; later only where the answer has said so."""
        late = bool(answer.get("Warnings"))
        self.late += late
        deadline = time.monotonic() + (PATIENCE_SECONDS if late else 0)
        while self._looking.cat(target) != expected:
            assert time.monotonic() < deadline, f"{target} does not show change {self.changes}"
