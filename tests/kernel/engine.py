"""A real Docker engine of a test's own: nothing of it is seen by another, and nothing of it stays."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from daemons import ANSWER_SECONDS

OPTIONS = ("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs")


class Engine:
    """``run`` is its command line."""

    def __init__(self, base: Path, pid: int) -> None:
        self.base = base
        self.pid = pid
        self._host = host_of(base)

    def run(self, *words: str, input: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run(["docker", "-H", self._host, *words], input=input, capture_output=True, timeout=60)
        assert done.returncode == 0 or not check, (words, done.stderr.decode())
        return done.stdout.decode().strip()


def host_of(base: Path) -> str:
    return f"unix://{base}/docker.sock"


@contextlib.contextmanager
def engine(base: Path, before: tuple[str, ...] = ()) -> Iterator[Engine]:
    """One that answers; ``before`` is what becomes dockerd."""
    places = ("--data-root", base / "data", "--exec-root", base / "exec", "--pidfile", base / "pid")
    with (base / "log").open("wb") as log:
        command = [*before, "dockerd", *OPTIONS, *map(str, places), "--host", host_of(base)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    found = Engine(base, process.pid)
    try:
        until = time.monotonic() + ANSWER_SECONDS
        while not found.run("version", "--format", "{{.Server.Version}}", check=False):
            assert time.monotonic() < until, (base / "log").read_text()
        yield found
    finally:
        process.terminate()
        process.wait(ANSWER_SECONDS)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        for path in sorted((line.split()[4] for line in lines if f" {base}/" in line), reverse=True):
            subprocess.run(["umount", "--lazy", path])
