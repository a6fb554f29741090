"""Who changes things all the time, whatever happens to the daemon, and knows what was acknowledged."""

import base64
import contextlib
import http.client
import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from daemons import Daemon, Unix

VALUE_BYTES = 2000
PATIENCE_SECONDS = 30.0
PRUNE_EVERY = 200  # a secret has 1000 versions at most


class Writer:
    """Rotates ``turning``, grants and revokes ``coming``, and creates secrets, in turn. ``looking`` is a task in which
    each acknowledged change must show at once, unless the answer says that it does not yet.
    """

    def __init__(self, daemon: Daemon, service: str, looking, values: list[bytes]) -> None:
        self._daemon = daemon
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
        body = {"Data": base64.b64encode(value).decode(), "Drain": 1}
        answer = self._until_acknowledged(lambda: ("POST", "/secretfs/v1/secrets/turning/versions", body))
        self._shows(answer, "turning", value)
        if self.changes % PRUNE_EVERY == PRUNE_EVERY - 1:
            self._until_acknowledged(lambda: ("POST", "/secretfs/v1/secrets/turning/prune", {"Keep": 5}))

    def _grant(self, *, coming: bool) -> None:
        names = ["steady", "turning", *(["coming"] if coming else [])]
        answer = self._until_acknowledged(lambda: self._granting(names))
        self._shows(answer, "coming", self._values[0] if coming else "ENOENT")

    def _granting(self, names: list[str]) -> tuple[str, str, object]:
        ids = {found["Spec"]["Name"]: found["ID"] for found in self._daemon.api("GET", "/secrets")}
        found = self._daemon.api("GET", f"/services/{self._service}")
        file = {"UID": "0", "GID": "0", "Mode": 0o444}
        found["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"] = [
            {"File": {"Name": name, **file}, "SecretID": ids[name], "SecretName": name} for name in names
        ]
        return "POST", f"/services/{found['ID']}/update?version={found['Version']['Index']}", found["Spec"]

    def _create(self) -> None:
        """One that was made and not acknowledged is there, and the name taken: the next attempt has another."""
        attempts = iter(range(1000))
        data = base64.b64encode(self._values[0]).decode()
        answer = self._until_acknowledged(
            lambda: ("POST", "/secrets/create", {"Name": f"made-{self.changes}-{next(attempts)}", "Data": data})
        )
        self.created.append(answer["ID"])

    def _until_acknowledged(self, asked) -> dict:
        """The answer; asked again when the daemon was killed over it, or when its earlier self had done it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(http.client.HTTPException, ConnectionError, TimeoutError):
                status, answer = self._answer(*asked())
                if status < 300:
                    self._acknowledged.release()
                    return answer
                assert status == 503 or "out of sequence" in str(answer), (status, answer)
        raise AssertionError("nothing is acknowledged any more")

    def _answer(self, method: str, path: str, body: object) -> tuple[int, dict]:
        with contextlib.closing(Unix(str(self._daemon.runtime / "api.sock"))) as connection:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")

    def _shows(self, answer: dict, target: str, expected: object) -> None:
        """At once; later only where the answer has said so."""
        late = bool(answer.get("Warnings"))
        self.late += late
        deadline = time.monotonic() + (PATIENCE_SECONDS if late else 0)
        while self._looking.cat(target) != expected:
            assert time.monotonic() < deadline, f"{target} does not show change {self.changes}"
