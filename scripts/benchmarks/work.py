"""The place of one run. Rule: what it starts and mounts is gone when it is left, however it is left.

Programs get a session of their own: Ctrl-C is for this process, which then ends them in order.
"""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.report import BenchError

START_SECONDS: Final = 60
END_SECONDS: Final = 20
RUN_SECONDS: Final = 120
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PACKAGE: Final = Path(__file__).parent


class Work:
    """A temporary directory with everything that runs from it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, *names: str) -> Path:
        """One below it, made when it is not there."""
        found = self.root.joinpath(*names)
        found.mkdir(parents=True, exist_ok=True)
        return found

    def new_directory(self, name: str) -> Path:
        """One below it that nobody else has."""
        return Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self.root))

    def compiled(self, name: str, *options: str) -> str:
        """A program from ``c/NAME.c``. The options follow the source, as libraries must."""
        binary = self.directory("bin") / name
        if not binary.exists():
            command = [
                "gcc",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pthread",
                "-o",
                binary,
                _PACKAGE / "c" / f"{name}.c",
            ]
            run(list(map(str, command)) + list(options))
        return str(binary)


@contextlib.contextmanager
def work() -> Iterator[Work]:
    """For the length of a run. SIGTERM and SIGHUP end it as Ctrl-C does; while it is tidied up, all are ignored."""
    for number in _ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)
    with tempfile.TemporaryDirectory(prefix="secretfs-bench.") as name:
        try:
            yield Work(Path(name))
        finally:
            _ignore_signals()
            unmount_below(Path(name))


def _interrupted(*_: object) -> None:
    """The first time only: what runs is ended in order, and that takes a moment in which many press the keys again."""
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)


def run(command: Sequence[str], *, data: bytes | None = None, environment: dict[str, str] | None = None) -> bytes:
    """What a program prints that must succeed."""
    done = subprocess.run(command, check=False, input=data, env=environment, capture_output=True, timeout=RUN_SECONDS)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BenchError(f"{' '.join(command[:6])}: exit code {done.returncode}: {said[-600:]}")
    return done.stdout


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, environment: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server; what it says goes to the log. Ended with SIGTERM, and killed when that does not help."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


@contextlib.contextmanager
def saying(command: Sequence[str], ready: str) -> Iterator[int]:
    """A server that says a line with this in it when it is ready; its pid. Ended as by ``running``."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        assert process.stdout
        said = b""
        try:
            while ready not in (line := process.stdout.readline()).decode():
                said += line
                if not line:
                    raise BenchError(f"{' '.join(command[:3])} is not ready: {said.decode()}")
            yield process.pid
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM; SIGKILL after END_SECONDS."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pinned(processors: Iterable[int], *command: str) -> list[str]:
    """The command, kept to these processors."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(processors))), *command]


def pin(pid: int, processors: Iterable[int]) -> None:
    """Keep all threads of a process to these from now on."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), processors)


def descendants(pid: int) -> list[int]:
    """The process and all that it started and that started by it, zombies left out."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += descendants(int(child))
    return found


# --- mounts -----------------------------------------------------------------------------------------------------------


def wait_until_mounted(path: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when a file system is mounted there. Raises: BenchError, with what its server said."""
    until = time.monotonic() + START_SECONDS
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        poll = select.poll()
        poll.register(table, select.POLLPRI)  # the table has changed, see proc_pid_mounts(5)
        while not _mounts_at(str(path)):
            if process.poll() is not None or time.monotonic() > until:
                raise BenchError(f"{path.name} is not mounted: {log.read_text(errors='replace')[-600:]}")
            poll.poll(100)  # ms: a server that ends does not change the table


def unmount(path: Path) -> None:
    """Take away what is mounted there."""
    while _mounts_at(str(path)):
        run(["umount", "--lazy", str(path)])


def unmount_below(root: Path) -> None:
    """Take away what is mounted below a directory, the innermost first."""
    for path in sorted(_mounts_below(f"{root}/"), reverse=True):
        run(["umount", "--lazy", path])


def _mounts_at(path: str) -> list[str]:
    return [found for found in _mount_points() if found == path]


def _mounts_below(prefix: str) -> list[str]:
    return [found for found in _mount_points() if found.startswith(prefix)]


def _mount_points() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
