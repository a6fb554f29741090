"""What a daemon takes in memory, with more and more tasks of ten secrets each, beside Docker's engine that is idle.

PSS: pages that several processes share are counted once, by parts. Two cases: all tasks show the same ten secrets, as
copies of one service do, or each has ten of its own.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.daemon import Daemon, create_secret, daemon
from benchmarks.engine import engine
from benchmarks.report import BenchError, Figure, Report, progress, ratio, table
from benchmarks.scale import Scale
from benchmarks.work import END_SECONDS, Work

SECRETS: Final = 10  # of a task
VALUE_BYTES: Final = 64
SAME: Final = "the same ten"
OWN: Final = "ten of its own"
CASES: Final[dict[str, Callable[[int], range]]] = {  # the numbers of the secrets of a task
    SAME: lambda _task: range(SECRETS),
    OWN: lambda task: range(task * SECRETS, (task + 1) * SECRETS),
}


def measure(work: Work, scale: Scale, report: Report) -> None:
    """The engine first, while nothing else was asked of it."""
    idle: int | None = None
    with report.trouble("memory of Docker's engine"), engine(work, "idle") as docker:
        idle = pss_bytes(docker.pids())
    found = {case: _grown(work, case, scale, report) for case in CASES}
    report.data["memory"] = {"Docker's engine, idle, PSS bytes": idle, "secretfs, PSS bytes by tasks": found}
    rows = []
    for case, sizes in found.items():
        for tasks, size in sizes.items():
            rows.append([f"{tasks:,} tasks, {case}", ratio(size, sizes[0]), "-" if idle is None else ratio(size, idle)])
    table(f"Memory (PSS of all processes), tasks of {SECRETS} secrets", ["", "x no task", "x dockerd+containerd"], rows)
    if idle is not None:
        for case, sizes in found.items():
            tasks = max(sizes)
            name = f"memory with {tasks:,} tasks, {case}, x dockerd + containerd idle"
            report.figures.append(Figure(name, sizes[tasks] / idle, 1))


def pss_bytes(pids: list[int]) -> int:
    """The proportional set size of these processes together, see proc_pid_smaps(5)."""
    found = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                found += int(line.split()[1]) * 1024
    return found


def _grown(work: Work, case: str, scale: Scale, report: Report) -> dict[int, int]:
    """PSS by the number of tasks, of a fresh daemon."""
    sizes: dict[int, int] = {}
    with report.trouble(f"memory, {case}"), daemon(work, f"memory-{case.replace(' ', '-')}") as found:
        sizes[0] = pss_bytes(found.pids())
        secrets_of = CASES[case]
        with found.api() as api:
            for number in sorted({number for task in range(max(scale.task_counts)) for number in secrets_of(task)}):
                create_secret(api, f"m{number}", bytes([number % 251 + 1]) * VALUE_BYTES)
        with _crowd(found, work.directory("secrets")) as begin:
            for count in scale.task_counts:
                progress(f"memory, {case}: {count} tasks")
                for task in range(max(sizes), count):
                    begin({"Secrets": [{"source": f"m{n}", "target": f"m{n}"} for n in secrets_of(task)]})
                sizes[count] = pss_bytes(found.pids())
    return sizes


@contextlib.contextmanager
def _crowd(found: Daemon, target: Path) -> Iterator[Callable[[dict[str, object]], None]]:
    """Takes the requests of tasks, which end with the block."""
    command = [sys.executable, "-m", "benchmarks.crowd", found.attach_socket, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        tasks, answers = process.stdin, process.stdout
        assert tasks
        assert answers

        def begin(request: dict[str, object]) -> None:
            tasks.write(json.dumps(request).encode() + b"\n")
            tasks.flush()
            if answers.readline() != b"running\n":
                raise BenchError("a task did not start")

        try:
            yield begin
        finally:
            tasks.close()
            process.wait(END_SECONDS)
