"""A Docker engine of our own, with Swarm. Rule: it shares no directory, no port and no network with another.

It has a network namespace with nothing but a loopback device, which ends with it: what Swarm makes there (bridges, the
ports 2377 and 7946) is gone by itself.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.api import Api
from benchmarks.report import BenchError
from benchmarks.work import START_SECONDS, Work, descendants, run, running, unmount_below

IMAGE: Final = "busybox"
COMMANDS: Final = ("sh", "true", "cat", "sleep")
_OPTIONS: Final = ("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs")
_ALONE: Final = ("unshare", "--net", "sh", "-c", 'busybox ip link set lo up && exec "$@"', "sh")


@dataclass(frozen=True, slots=True)
class Engine:
    """One that serves, as a Swarm of one node."""

    pid: int
    socket: Path
    environment: dict[str, str]  # for the docker program

    def docker(self, *words: str, data: bytes | None = None) -> str:
        """What the docker program prints."""
        return run(["docker", *words], data=data, environment=self.environment).decode().strip()

    def api(self) -> Api:
        """A new connection."""
        return Api(str(self.socket))

    def pids(self) -> list[int]:
        """dockerd, containerd and what they run."""
        return descendants(self.pid)


@contextlib.contextmanager
def engine(work: Work, name: str) -> Iterator[Engine]:
    """For the length of a part; image ``busybox`` has our watcher in it."""
    base = work.new_directory(f"docker-{name}")
    path, log = base / "docker.sock", base / "log"
    places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
    words = [f"{option}={base / name}" for option, name in places.items()]
    environment = os.environ | {"DOCKER_HOST": f"unix://{path}", "DOCKER_CONFIG": str(base / "client")}
    try:
        with running([*_ALONE, "dockerd", *_OPTIONS, *words, f"--host=unix://{path}"], log) as process:
            found = Engine(process.pid, path, environment)
            _wait(found, process, log)
            found.docker("swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1")
            found.docker("import", "-", IMAGE, data=image(work))
            try:
                yield found
            finally:
                _stop_containers(found)
    finally:
        unmount_below(base)


def image(work: Work) -> bytes:
    """A root file system as tar: busybox and the watcher."""
    root = work.directory("image")
    if not (root / "bin").exists():
        (root / "bin").mkdir()
        (root / "run").mkdir()
        busybox = Path(run(["sh", "-c", "command -v busybox"]).decode().strip())
        (root / "bin" / "busybox").write_bytes(busybox.read_bytes())
        (root / "bin" / "watch").write_bytes(Path(work.compiled("watch", "-static")).read_bytes())
        for program in ("busybox", "watch"):
            (root / "bin" / program).chmod(0o755)
        for command in COMMANDS:
            (root / "bin" / command).symlink_to("busybox")
    return run(["tar", "-C", str(root), "-c", "."])


def _wait(found: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(BenchError):
            found.docker("version", "--format", "{{.Server.Version}}")
            return
        if process.poll() is not None or time.monotonic() > until:
            raise BenchError(f"dockerd does not serve: {log.read_text(errors='replace')[-600:]}")


def _stop_containers(found: Engine) -> None:
    """All of them, so that no shim outlives the engine."""
    with contextlib.suppress(BenchError, subprocess.TimeoutExpired):
        found.docker("swarm", "leave", "--force")
        if containers := found.docker("ps", "--all", "--quiet").split():
            found.docker("rm", "--force", *containers)
