"""The same changes in Docker Swarm, which cannot make them in a running container: it replaces it.

So that this is as quick as it can be, the container ends by SIGKILL, and nothing is waited for but what is measured.
Between its rounds the watcher in it is stopped: it would take a good part of a processor from the others.
"""

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.daemon import create_secret
from benchmarks.engine import IMAGE, Engine
from benchmarks.report import BenchError
from benchmarks.work import Work

GRANT: Final = "grant to visible"
REVOKE: Final = "revoke to refused"
ROTATE: Final = "rotate to visible"
DEADLINE_SECONDS: Final = 60
_SERVICE: Final = "live"
_SCRIPT: Final = "exec /bin/watch visible /run/secrets/x >/tell/fifo"


class Swarm:
    """A service of one container, in which ``watch`` tells what it sees through a named pipe."""

    def __init__(self, work: Work, engine: Engine) -> None:
        self._engine = engine
        directory = work.directory("tell")
        os.mkfifo(directory / "fifo")
        # Open for both, so that no end of file comes between two containers.
        self._told = os.open(directory / "fifo", os.O_RDWR | os.O_CLOEXEC)
        self._pending = b""
        options = [
            "--detach",
            "--no-resolve-image",
            "--name",
            _SERVICE,
            "--network=host",
            "--stop-signal=SIGKILL",
            "--update-monitor=100ms",
        ]
        mount = f"--mount=type=bind,source={directory},target=/tell"
        engine.docker("service", "create", *options, mount, IMAGE, "sh", "-c", _SCRIPT)
        self._until(b"looking")
        self._tell(signal.SIGSTOP)

    def round(self, turn: int) -> dict[str, float]:
        """Grant, rotate, revoke, in milliseconds."""
        self._tell(signal.SIGCONT)
        took = self._round(turn)
        self._until(b"looking")
        self._tell(signal.SIGSTOP)
        return took

    def _round(self, turn: int) -> dict[str, float]:
        first, second = f"live{turn}.1", f"live{turn}.2"
        with self._engine.api() as api:
            given = create_secret(api, first, first.encode())
            began = time.monotonic_ns()
            self._grant([(first, given)])
            took = {GRANT: (self._seen_ns(first) - began) / 1e6}
            began = time.monotonic_ns()
            newer = create_secret(api, second, second.encode())
        self._grant([(second, newer)])
        took[ROTATE] = (self._seen_ns(second) - began) / 1e6
        with self._container() as pidfd:
            began = time.monotonic_ns()
            self._grant([])
            _wait(pidfd, "the end of the container that was granted it")
            took[REVOKE] = (time.monotonic_ns() - began) / 1e6
        return took

    def _tell(self, number: int) -> None:
        with self._container() as pidfd:
            signal.pidfd_send_signal(pidfd, number)

    def _grant(self, secrets: Sequence[tuple[str, str]]) -> None:
        """Exactly these, each as x: name and id."""
        with self._engine.api() as api:
            found = json.loads(api.call("GET", f"/services/{_SERVICE}"))
            spec, version = found["Spec"], found["Version"]["Index"]
            spec["TaskTemplate"]["ContainerSpec"]["Secrets"] = [
                {"File": {"Name": "x", "UID": "0", "GID": "0", "Mode": 0o444}, "SecretID": secret, "SecretName": name}
                for name, secret in secrets
            ]
            api.call("POST", f"/services/{found['ID']}/update?version={version}", spec)

    def _seen_ns(self, value: str) -> int:
        """When a container saw the value."""
        return int(self._until(value.encode()).split()[0])

    def _until(self, end: bytes) -> bytes:
        """The first line with this end, from any container."""
        while True:
            _wait(self._told, f"{end!r} from a container")
            self._pending += os.read(self._told, 4096)
            while b"\n" in self._pending:
                line, _, self._pending = self._pending.partition(b"\n")
                if line.rstrip().endswith(end):
                    return line

    @contextlib.contextmanager
    def _container(self) -> Iterator[int]:
        """The pidfd of the container's first process."""
        task = self._engine.docker("service", "ps", "--quiet", "--filter=desired-state=running", _SERVICE)
        pidfd = os.pidfd_open(self._pid(task))
        try:
            yield pidfd
        finally:
            os.close(pidfd)

    def _pid(self, task: str) -> int:
        """It runs before the managers hear of it: until then they say 0."""
        until = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < until:
            pid = int(self._engine.docker("inspect", "--format={{.Status.ContainerStatus.PID}}", task))
            if pid:
                return pid
        raise BenchError(f"no pid of the container of task {task} within {DEADLINE_SECONDS} s")


def _wait(fd: int, what: str) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(DEADLINE_SECONDS * 1000):
        raise BenchError(f"{what} did not come within {DEADLINE_SECONDS} s")
