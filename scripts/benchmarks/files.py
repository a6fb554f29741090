"""File operations: the same client on every file system, in turn. Rule: what costs a wake-up of another processor and
what costs work are told apart.

So everything is first kept to one processor, where the ratio is one of work, and then daemons and clients to different
ones, where a file system in user space pays for waking and being woken.
"""

import contextlib
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.filesystems import FILE_SYSTEMS, FLOOR, SECRETFS, TMPFS, Processors
from benchmarks.plot import Chart
from benchmarks.report import Figure, Report, progress, ratio, table
from benchmarks.scale import Scale
from benchmarks.work import Work, pinned, run

OPERATIONS: Final = {
    "open-read-close": "open+read+close",
    "open-close": "open+close",
    "stat": "stat",
    "missing": "missing name",
    "pread": "pread",
    "read-500k": "read 500 kB",
    "readdir-1000": "readdir of 1,000",
    "cat-100": "cat of 100 files",
}
CLIENTS: Final = (1, 2, 8)

Case = tuple[str, int, str]  # operation, clients, file system


@dataclass
class Block:
    """What was measured with one choice of processors: a list with a value for each round."""

    name: str
    rates: dict[Case, list[float]] = field(default_factory=dict)  # operations per second of all clients together
    medians: dict[Case, list[float]] = field(default_factory=dict)  # microseconds, of one client's operations

    def add(self, case: Case, rate: float, median: float) -> None:
        """One round of one case."""
        self.rates.setdefault(case, []).append(rate)
        self.medians.setdefault(case, []).append(median)

    def cost(self, operation: str, clients: int, name: str) -> float | None:
        """Microseconds for one operation: of one client its median, of several what all do in a second, inverted."""
        case = (operation, clients, name)
        if case not in self.rates:
            return None
        return statistics.median(self.medians[case]) if clients == 1 else 1e6 / statistics.median(self.rates[case])

    def times(self, operation: str, clients: int, base: str, name: str = SECRETFS) -> float | None:
        """How many times as long as on the base."""
        ours, theirs = self.cost(operation, clients, name), self.cost(operation, clients, base)
        return None if ours is None or theirs is None else ours / theirs

    def as_json(self) -> list[dict[str, object]]:
        """Absolute, every round."""
        return [
            {
                "operation": operation,
                "clients": clients,
                "file system": name,
                "cost us": self.cost(operation, clients, name),
                "rounds: operations per second": self.rates[operation, clients, name],
                "rounds: median us": self.medians[operation, clients, name],
            }
            for operation, clients, name in self.rates
        ]


def measure(work: Work, scale: Scale, report: Report) -> None:
    """Both blocks, their tables and their figures."""
    allowed = sorted(os.sched_getaffinity(0))
    first = frozenset(allowed[:1])
    one = _measured("one processor", Processors(first, first), work, scale, scale.file_rounds, report)
    report.figures += _figures(one)
    report.data["files"] = {one.name: one.as_json()}
    if len(allowed) < 2:
        report.troubles.append("files across processors: there is one only")
        return
    others = Processors(first, frozenset(allowed[1:]))
    across = _measured("across processors", others, work, scale, scale.across_rounds, report)
    report.data["files"] = {block.name: block.as_json() for block in (one, across)}


def _measured(name: str, where: Processors, work: Work, scale: Scale, rounds: int, report: Report) -> Block:
    block = Block(name)
    client = work.compiled("client")
    with contextlib.ExitStack() as mounted:
        paths = {}
        for kind, file_system in FILE_SYSTEMS.items():
            with report.trouble(f"{kind}, {name}"):
                paths[kind] = mounted.enter_context(file_system(work, where))
        for turn in range(rounds):
            progress(f"files, {name}: round {turn + 1} of {rounds}")
            _round(block, paths, pinned(where.clients, client), scale.file_seconds, report)
    _print(block, list(paths), rounds, report)
    return block


def _round(block: Block, paths: Mapping[str, Path], client: list[str], seconds: float, report: Report) -> None:
    for operation in OPERATIONS:
        for clients in CLIENTS:
            for kind, path in paths.items():
                with report.trouble(f"{operation} on {kind}"):
                    words = run([*client, str(path), operation, str(clients), str(seconds)]).split()
                    block.add((operation, clients, kind), *map(float, words))


def _print(block: Block, names: list[str], rounds: int, report: Report) -> None:
    rows = []
    for operation, words in OPERATIONS.items():
        for clients in CLIENTS:
            row = [f"{words}, {clients} client{'s' if clients > 1 else ''}"]
            row += [_cell(block.times(operation, clients, TMPFS, name)) for name in names[1:]]
            rows.append([*row, _cell(block.times(operation, clients, FLOOR))])
    head = ["x tmpfs", *names[1:], "secretfs x C direct_io"]
    report.charts.append(
        Chart(
            f"File operations, {block.name}, one client",
            "x tmpfs",
            {words: {name: block.times(key, 1, TMPFS, name) for name in names} for key, words in OPERATIONS.items()},
        )
    )
    table(f"File operations, {block.name} (ratios of medians of {rounds} interleaved rounds)", head, rows)


def _cell(found: float | None) -> str:
    return "-" if found is None else ratio(found, 1)


def _figures(block: Block) -> list[Figure]:
    wanted = [
        ("open+read+close, x C floor with direct_io", "open-read-close", FLOOR, 1.8, 1.4),
        ("pread, x C floor with direct_io", "pread", FLOOR, 2.0, 1.5),
        ("stat, x tmpfs", "stat", TMPFS, 1.2, None),
        ("missing name, x tmpfs", "missing", TMPFS, 1.2, None),
    ]
    found = []
    for name, operation, base, limit, aim in wanted:
        if (times := block.times(operation, 1, base)) is not None:
            found.append(Figure(name, times, limit, aim))
    if (times := block.times("open-read-close", 8, FLOOR)) is not None:
        found.append(Figure("throughput of 8 clients, x C floor with direct_io", 1 / times, 0.5, at_least=True))
    return found
