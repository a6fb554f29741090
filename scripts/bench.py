#!/usr/bin/env python
"""What a file of secretfs costs beside one on tmpfs. Rule: one processor, interleaved rounds, medians, ratios.

A task of a daemon in temporary directories mounts a tmpfs of its own with the same files, and times the same calls on
both, round by round. The daemon and the task share one processor, so that what is measured is work and not the wake-up
of a halted one. The time of Python's own call is in both columns: the ratio for a C program is higher.

Then the command line beside docker's: ``secret ls`` as a whole process, from its start to its end, in turn, with the
same daemon and all processors.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROUNDS: Final = 21
ROUND_SECONDS: Final = 0.05
READY_SECONDS: Final = 30
SMALL_BYTES: Final = 64
LARGE_BYTES: Final = 511_999
IN_TASK: Final = "--in-task"
LISTINGS: Final = 41

Call = Callable[[], None]


def main() -> int:
    """Start a daemon and a task on one processor; the task does the measuring."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    with tempfile.TemporaryDirectory(prefix="secretfs-bench.") as name:
        work = Path(name)
        (work / "tmpfs").mkdir()
        with daemon(work) as host:
            grants = []
            for secret, size in (("small", SMALL_BYTES), ("large", LARGE_BYTES)):
                value = os.urandom(size)
                subprocess.run([*host, "secret", "create", secret, "-"], input=value, check=True, capture_output=True)
                grants += ["--secret", secret]
            task = [*host, "run", *grants, "--target-dir", str(work / "secrets"), "--"]
            subprocess.run([*task, sys.executable, __file__, IN_TASK, str(work)], check=True)
            os.sched_setaffinity(0, processors)
            compare_listings(host, work)
    return 0


def compare_listings(host: list[str], work: Path) -> None:
    """Time ``secret ls`` of secretfs and of docker, and print both and the ratio."""
    environment = os.environ | {"DOCKER_HOST": host[-1], "DOCKER_CONFIG": str(work / "docker")}

    def run(command: list[str]) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True)

    seconds: dict[str, list[float]] = {}
    for _ in range(LISTINGS):
        for program, words in (("docker", ["docker"]), ("secretfs", host)):
            seconds.setdefault(program, []).append(seconds_of(lambda words=words: run([*words, "secret", "ls"]), 1))
    docker, ours = (statistics.median(seconds[program]) * 1e3 for program in ("docker", "secretfs"))
    sys.stdout.write(f"\n{'':<28}{'docker ms':>10}{'secretfs ms':>13}{'ratio':>8}\n")
    sys.stdout.write(f"{'secret ls, whole process':<28}{docker:>10.1f}{ours:>13.1f}{ours / docker:>8.2f}\n")
    sys.stdout.write(f"medians of {LISTINGS} runs in turn\n")


@contextmanager
def daemon(work: Path) -> Iterator[list[str]]:
    """The words that begin a command line for a daemon that is ready; it is stopped after the block."""
    program = str(Path(sys.executable).with_name("secretfs"))
    directories = ["--state-dir", f"{work}/state", "--runtime-dir", f"{work}/run"]
    command = [program, "daemon", *directories, "--root-key", f"file:{work}/key/root.key"]
    log = work / "daemon.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while '"event": "ready"' not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: error: the daemon is not ready:\n{log.read_text()}")
            time.sleep(0.05)
        yield [program, "--host", f"unix://{work}/run/api.sock"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def measure(work: Path) -> int:
    """In the task: time each operation on both file systems, and print the table."""
    tmpfs, secrets = work / "tmpfs", work / "secrets"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmpfs], check=True)  # ends with the task's mount namespace
    for file in ("small", "large"):
        (tmpfs / file).write_bytes((secrets / file).read_bytes())
    sys.stdout.write(f"{'':<28}{'tmpfs us':>10}{'secretfs us':>13}{'ratio':>8}\n")
    for (name, on_tmpfs), (_, on_secretfs) in zip(operations(tmpfs), operations(secrets), strict=True):
        floor, ours = medians(on_tmpfs, on_secretfs)
        sys.stdout.write(f"{name:<28}{floor:>10.2f}{ours:>13.2f}{ours / floor:>8.2f}\n")
    sys.stdout.write(f"medians of {ROUNDS} interleaved rounds on one processor, called from Python\n")
    return 0


def operations(directory: Path) -> list[tuple[str, Call]]:
    """What is timed, on the files of one directory."""
    small, large, missing = (str(directory / name) for name in ("small", "large", "missing"))
    opened = os.open(small, os.O_RDONLY)

    def open_read_close(path: str, size: int) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        os.read(descriptor, size)
        os.close(descriptor)

    return [
        (f"open+read {SMALL_BYTES} B+close", lambda: open_read_close(small, SMALL_BYTES)),
        ("open+read 500 kB+close", lambda: open_read_close(large, LARGE_BYTES)),
        (f"pread {SMALL_BYTES} B", lambda: assert_read(os.pread(opened, SMALL_BYTES, 0))),
        ("stat", lambda: assert_read(os.stat(small))),
        ("stat of a missing name", lambda: assert_read(not os.path.exists(missing))),
        ("list the directory", lambda: assert_read(os.listdir(directory))),
    ]


def assert_read(result: object) -> None:
    """A call that yields nothing would be measured for nothing."""
    assert result


def medians(first: Call, second: Call) -> tuple[float, float]:
    """Microseconds for each call: rounds of one and of the other in turn."""
    counts = [calls_in(call, ROUND_SECONDS) for call in (first, second)]
    rounds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for call, count, results in zip((first, second), counts, rounds, strict=True):
            results.append(seconds_of(call, count) / count * 1e6)
    return statistics.median(rounds[0]), statistics.median(rounds[1])


def calls_in(call: Call, seconds: float) -> int:
    """How many calls fill about so much time; also warms up."""
    seconds_of(call, 20)
    return max(20, int(seconds / (seconds_of(call, 200) / 200)))


def seconds_of(call: Call, count: int) -> float:
    """How long so many calls take."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(measure(Path(sys.argv[2])) if sys.argv[1:2] == [IN_TASK] else main())
