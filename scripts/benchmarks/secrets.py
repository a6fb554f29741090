"""Creating, listing and inspecting secrets, from few to many: secretfs and Docker Swarm in turn, in the same minutes.

Both over their sockets, on a connection that is kept, one call after the other; and ``secret ls`` as a whole process.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.api import Api
from benchmarks.attach import Start, seconds_of
from benchmarks.daemon import create_secret, daemon
from benchmarks.engine import engine
from benchmarks.plot import Chart
from benchmarks.report import Figure, Report, progress, ratio, table
from benchmarks.scale import Scale
from benchmarks.work import Work

OURS: Final = "secretfs"
SWARM: Final = "Docker Swarm"
VALUE_BYTES: Final = 64
BATCH: Final = 100  # creates of one, then of the other
LISTINGS: Final = 7
INSPECTIONS: Final = 200
PROCESSES: Final = 15

Medians = Mapping[str, Mapping[int, float]]  # what was done, of how many secrets: seconds


@dataclass
class Side:
    """One of the two, and what was measured of it: by the number of secrets, seconds."""

    api: Api
    listing: Start  # ``secret ls``
    ids: list[str] = field(default_factory=list)
    creating_seconds: float = 0.0  # of all that were created
    creates: dict[int, list[float]] = field(default_factory=dict)  # for one, a value for each batch
    lists: dict[int, list[float]] = field(default_factory=dict)
    inspects: dict[int, list[float]] = field(default_factory=dict)
    processes: dict[int, list[float]] = field(default_factory=dict)


def measure(work: Work, scale: Scale, report: Report) -> None:
    """Grow both to each size, and measure there."""
    with contextlib.ExitStack() as running:
        found = running.enter_context(daemon(work, "many"))
        listing = Start([*found.words, "secret", "ls"], dict(os.environ))
        sides = {OURS: Side(running.enter_context(found.api()), listing)}
        with report.trouble(f"secrets in {SWARM}"):
            docker = running.enter_context(engine(work, "many"))
            words = Start(["/usr/bin/env", "docker", "secret", "ls"], docker.environment)
            sides[SWARM] = Side(running.enter_context(docker.api()), words)
        for size in scale.sizes:
            progress(f"secrets: {size}")
            _grow(sides, size)
            _look(sides, size)
    _tell(sides, scale.sizes, report)


def _grow(sides: Mapping[str, Side], size: int) -> None:
    before = len(sides[OURS].ids)
    for first in range(before, size, BATCH):
        for side in sides.values():
            began = time.perf_counter()
            last = min(first + BATCH, size)
            side.ids += [
                create_secret(side.api, f"secret{number}", os.urandom(VALUE_BYTES)) for number in range(first, last)
            ]
            took = time.perf_counter() - began
            side.creating_seconds += took
            side.creates.setdefault(size, []).append(took / (last - first))


def _look(sides: Mapping[str, Side], size: int) -> None:
    for turn in range(PROCESSES):
        for side in sides.values():
            side.processes.setdefault(size, []).append(seconds_of(side.listing))
            if turn < LISTINGS:
                side.lists.setdefault(size, []).append(_seconds(side.api, "/secrets"))
    for turn in range(INSPECTIONS):
        for side in sides.values():
            path = f"/secrets/{side.ids[turn * len(side.ids) // INSPECTIONS]}"
            side.inspects.setdefault(size, []).append(_seconds(side.api, path))


def _seconds(api: Api, path: str) -> float:
    began = time.perf_counter()
    api.call("GET", path)
    return time.perf_counter() - began


def _tell(sides: Mapping[str, Side], sizes: tuple[int, ...], report: Report) -> None:
    kinds: dict[str, Callable[[Side], Mapping[int, list[float]]]] = {
        "create one": lambda side: side.creates,
        "list all": lambda side: side.lists,
        "inspect one": lambda side: side.inspects,
        "secret ls, whole process": lambda side: side.processes,
    }
    medians = {
        name: {kind: {size: statistics.median(of(side)[size]) for size in sizes} for kind, of in kinds.items()}
        for name, side in sides.items()
    }
    report.data["secrets"] = {"median seconds": medians}
    ours, swarm = medians[OURS], medians.get(SWARM)
    rows = []
    for kind in kinds:
        for size in sizes:
            took = ours[kind][size]
            beside = "-" if swarm is None else ratio(took, swarm[kind][size])
            rows.append([f"{kind}, of {size:,}", ratio(took, ours[kind][sizes[0]]), beside])
    base = swarm or ours
    bars = {
        f"{kind}, {size:,}": {name: medians[name][kind][size] / base[kind][sizes[0]] for name in medians}
        for kind in kinds
        for size in sizes
    }
    report.charts.append(Chart("Secrets through the API", f"x {SWARM} with {sizes[0]}", bars))
    table("Secrets through the API (time for each)", ["", f"x of {sizes[0]}", f"x {SWARM}"], rows)
    if swarm is not None:
        report.figures += _figures(sides, ours, swarm, sizes)


def _figures(sides: Mapping[str, Side], ours: Medians, swarm: Medians, sizes: tuple[int, ...]) -> list[Figure]:
    rates = {name: len(side.ids) / side.creating_seconds for name, side in sides.items()}
    rate = f"creates of {sizes[-1]:,} through the API, rate x {SWARM}'s"
    found = [Figure(rate, rates[OURS] / rates[SWARM], 0.7, 1.0, at_least=True)]
    for size in (sizes[0], sizes[-1]):
        kind = "secret ls, whole process"
        found.append(Figure(f"secretfs {kind}, of {size:,}, x docker's", ours[kind][size] / swarm[kind][size], 4))
    return found
