"""From a change to what a running task sees of it. Rule: the begin is when the request is sent, the end when a program
inside the task (``c/watch.c``) sees it, by the same clock.

After the stop of a task nothing inside it can tell: there the end is when its value is gone from the arena, looked at
from outside.
"""

import base64
import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks import swarm
from benchmarks.api import Api
from benchmarks.arena import place_of, wiped_ns
from benchmarks.daemon import Daemon, create_secret, create_service, daemon, service_spec
from benchmarks.engine import engine
from benchmarks.report import BenchError, Figure, Report, progress, ratio, table
from benchmarks.scale import Scale
from benchmarks.work import Work

GRANT: Final = "grant to visible"
REVOKE: Final = "revoke to refused"
ROTATE: Final = "rotate to visible"
STOP: Final = "stop to wiped"
LIMITED: Final = (GRANT, REVOKE)
LIMIT_MS: Final = 10.0

SERVICE: Final = "live"
NAME: Final = "changing"


class Watcher:
    """A task with ``watch`` in it, which has looked once."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout
        self._lines = self._process.stdout
        if self._lines.readline() != b"looking\n":
            raise BenchError("the watcher did not start")

    @property
    def pid(self) -> int:
        """Of the task: secretfs run becomes its program."""
        return self._process.pid

    def seen_ns(self) -> int:
        """When it saw what it waited for."""
        return int(self._lines.readline().split()[0])

    def close(self) -> None:
        """End the task, at once."""
        with self._process:
            self._process.kill()


class Host:
    """The daemon, with a service that is granted a secret and gets and loses it."""

    def __init__(self, work: Work, found: Daemon, api: Api) -> None:
        self._daemon = found
        self._api = api
        self._target = work.directory("secrets")
        self._watch = work.compiled("watch", "-static")
        self._secret = create_secret(api, NAME, os.urandom(32).hex().encode())
        self._service = create_service(api, SERVICE, {})

    def grant(self, *targets: str) -> int:
        """Exactly these; when the request was sent."""
        version = self._api.json("GET", f"/services/{self._service}")["Version"]
        assert isinstance(version, dict)
        spec = service_spec(SERVICE, dict.fromkeys(targets, (NAME, self._secret)))
        began = time.monotonic_ns()
        self._api.call("POST", f"/services/{self._service}/update?version={version['Index']}", spec)
        return began

    def rotate(self) -> int:
        """A new version; when the request was sent."""
        value = base64.b64encode(os.urandom(32).hex().encode()).decode()
        began = time.monotonic_ns()
        self._api.call("POST", f"/secretfs/v1/secrets/{self._secret}/versions", {"Data": value, "Drain": 0})
        return began

    @contextlib.contextmanager
    def watching(self, what: str, target: str) -> Iterator[Watcher]:
        """A task of the service; what is watched in it."""
        task = self.task("--service", SERVICE, "--", self._watch, what, f"{self._target}/{target}")
        with contextlib.closing(task):
            yield task

    def task(self, *words: str) -> Watcher:
        """Any task with a watcher in it."""
        return Watcher([*self._daemon.words, "run", "--target-dir", str(self._target), *words])

    def stopped(self, number: int) -> float:
        """Milliseconds from the kill of a task to the end of its value in the arena."""
        value = os.urandom(32).hex().encode()
        name = f"once{number}"
        create_secret(self._api, name, value)
        task = self.task("--secret", name, "--", self._watch, "changed", f"{self._target}/{name}")
        with place_of(self._daemon.pid, value) as place:
            began = time.monotonic_ns()
            task.close()
            return (wiped_ns(place, value) - began) / 1e6


def measure(work: Work, scale: Scale, report: Report) -> None:
    """Rounds of each change in turn, and among them those of Docker Swarm."""
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    with contextlib.ExitStack() as running:
        found = running.enter_context(daemon(work, "live"))
        host = Host(work, found, running.enter_context(found.api()))
        other: swarm.Swarm | None = None
        with report.trouble("changes in Docker Swarm"):
            other = swarm.Swarm(work, running.enter_context(engine(work, "live")))
        every = max(1, scale.live_rounds // scale.swarm_rounds)
        for turn in range(scale.live_rounds):
            progress(f"live: round {turn + 1} of {scale.live_rounds}")
            _add(ours, _round(host, turn))
            if other is not None and turn % every == 0 and turn // every < scale.swarm_rounds:
                with report.trouble("changes in Docker Swarm"):
                    _add(theirs, other.round(turn))
    _tell(ours, theirs, report)


def _add(found: dict[str, list[float]], more: dict[str, float]) -> None:
    for name, milliseconds in more.items():
        found.setdefault(name, []).append(milliseconds)


def _round(host: Host, turn: int) -> dict[str, float]:
    """Each change once, in milliseconds."""
    took = {}
    host.grant()
    with host.watching("visible", "x") as task:
        took[GRANT] = (-host.grant("x") + task.seen_ns()) / 1e6
    with host.watching("changed", "x") as task:
        took[ROTATE] = (-host.rotate() + task.seen_ns()) / 1e6
    with host.watching("refused", "x") as task:
        took[REVOKE] = (-host.grant() + task.seen_ns()) / 1e6
    took[STOP] = host.stopped(turn)
    return took


def _tell(ours: dict[str, list[float]], theirs: dict[str, list[float]], report: Report) -> None:
    report.data["live"] = {"secretfs ms": ours, "Docker Swarm ms": theirs}
    rows = []
    for name, found in ours.items():
        median = statistics.median(found)
        swarms = statistics.median(theirs[name]) if name in theirs else None
        rows.append([name, "-" if swarms is None else f"1/{ratio(swarms, median)}"])
        if name in LIMITED:
            report.figures.append(Figure(f"{name}, ms", median, LIMIT_MS))
    title = f"Changes that a running task sees (medians of {len(ours[GRANT])} and {len(theirs.get(GRANT, []))} rounds)"
    table(title, ["", "x Docker Swarm"], rows)
