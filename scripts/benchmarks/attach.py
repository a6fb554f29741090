"""Starting a program with a secret: the whole of it, from the start of the starter to the end of ``true``."""

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.daemon import create_secret, daemon
from benchmarks.engine import IMAGE, engine
from benchmarks.plot import Chart
from benchmarks.podman import podman
from benchmarks.report import BenchError, Figure, Report, progress, ratio, table
from benchmarks.scale import Scale
from benchmarks.work import Work

PLAIN: Final = "/bin/true"
UNSHARE: Final = "unshare -m true"
PYTHON: Final = "python -c pass"
SECRETFS: Final = "secretfs run -- true"
DOCKER: Final = "docker run true"
PODMAN: Final = "podman run --secret true"


@dataclass(frozen=True, slots=True)
class Start:
    """A command line, and what it needs in its environment."""

    words: list[str]
    environment: Mapping[str, str]


def measure(work: Work, scale: Scale, report: Report) -> None:
    """In turn; a starter that cannot be had is left out."""
    ours = dict(os.environ)
    starts = {
        PLAIN: Start(["/bin/true"], ours),
        UNSHARE: Start(["/usr/bin/unshare", "-m", "true"], ours),
        PYTHON: Start([sys.executable, "-c", "pass"], ours),
    }
    with contextlib.ExitStack() as running:
        found = running.enter_context(daemon(work, "attach"))
        with found.api() as api:
            create_secret(api, "bench", b"a value")
        target = ["--target-dir", str(work.directory("secrets"))]
        starts[SECRETFS] = Start([*found.words, "run", "--secret", "bench", *target, "--", "/bin/true"], ours)
        with report.trouble(DOCKER):
            docker = running.enter_context(engine(work, "attach"))
            words = ["/usr/bin/env", "docker", "run", "--rm", "--network=none", IMAGE, "true"]
            starts[DOCKER] = Start(words, docker.environment)
        with report.trouble(PODMAN):
            other = running.enter_context(podman(work))
            words = ["/usr/bin/env", *other.words, "run", "--rm", "--secret=bench", IMAGE, "true"]
            starts[PODMAN] = Start(words, other.environment)
        seconds = _timed(starts, scale.start_rounds, report)
    _tell(seconds, scale.start_rounds, report)


def _timed(starts: Mapping[str, Start], rounds: int, report: Report) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {}
    for turn in range(-1, rounds):  # the first is to warm up
        progress(f"attach: round {turn + 1} of {rounds}")
        for name, start in starts.items():
            with report.trouble(name):
                took = seconds_of(start)
                if turn >= 0:
                    seconds.setdefault(name, []).append(took)
    return seconds


def seconds_of(start: Start) -> float:
    """From the fork to the end. Raises: BenchError, when it fails."""
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    began = time.perf_counter()
    pid = os.posix_spawn(start.words[0], start.words, start.environment, file_actions=nowhere)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - began
    if status:
        raise BenchError(f"{' '.join(start.words)}: status {status}")
    return took


def _tell(seconds: Mapping[str, list[float]], rounds: int, report: Report) -> None:
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    report.data["attach"] = {name: {"median s": medians[name], "rounds: s": seconds[name]} for name in seconds}
    base = medians[UNSHARE] + medians[PYTHON]
    rows = [[name, ratio(took, medians[PLAIN]), ratio(took, base)] for name, took in medians.items()]
    bars = {name: {"time": took / medians[PLAIN]} for name, took in medians.items()}
    report.charts.append(Chart("Starting a program", "x plain exec", bars))
    table(
        f"Starting a program (medians of {rounds} interleaved rounds)", ["", "x plain exec", "x unshare+python"], rows
    )
    report.figures.append(
        Figure("secretfs run -- true, x (unshare -m true + python -c pass)", medians[SECRETFS] / base, 3)
    )
    if DOCKER in medians:
        report.figures.append(Figure("secretfs run -- true, x docker run", medians[SECRETFS] / medians[DOCKER], 0.4))
