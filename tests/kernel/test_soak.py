"""What is done to services, tasks and processes, for a while. In the end there is no more of anything than at first.

Legs of equal length. In the first half processes are killed, in the second half none is. Each leg ends at rest, with
the same few tasks, and then:

- **counts** (descriptors, threads, mounts, nodes, slots, pages, records, files ...) are exactly those of the first leg.
  What leaks does not come back, so they may take their time to get there, and nothing depends on luck.
- **memory after kills**: at the end of each stormy leg each process is killed, one after the other, and one round later
  it is as old as its predecessor was at the end of the first leg. So it has as much memory, or else what it took over
  has grown.
- **memory without kills**: the end of the first calm leg is the plateau. At the end of the last one each process has as
  much.

MORE_KIB of memory are allowed, for what an allocator keeps for a while, and for caches that have a limit: control has
two of SQLite's, of 2000 KiB each, and 4096 names of ended tasks and of what they opened (control/opens.py), 1 KiB each.

fs loses 1 MiB to pyfuse3 when a request of a killed reader vanishes (fs/loop.py) and is replaced after 64: readers are
killed in the stormy half only.
"""

import os
import random
import select
import signal
import sys
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from resting import Sample, pids_of, returned, sample, settled
from tenants import Tenant

pytestmark = pytest.mark.kernel

SECONDS = [60, pytest.param(900, marks=pytest.mark.long)]
LEGS = 6
TENANTS = ("web", "mail", "jobs")
KILLED = ("fs", "control", "supervisor")
MORE_KIB = {"supervisor": 1024, "fs": 1024, "control": 9 * 1024, "standby": 1024}
STEADY_BYTES = 3000


class House:
    """The daemon, its tenants, and a book of what was done."""

    def __init__(self, daemon) -> None:
        self._daemon = daemon
        self.done: Counter = Counter()
        steady = b"s" * STEADY_BYTES
        daemon.secret("steady", steady)
        self._tenants = [Tenant(daemon, name, steady, self.done) for name in TENANTS]
        self._pool = ThreadPoolExecutor(len(TENANTS))

    def stormy(self, until: float) -> None:
        """Rounds, and a kill now and then; at the end each process was killed, and the same was done since."""
        rounds = self._rounds(until, stormy=True)
        while not all(turn.done() for turn in rounds):
            self._kill(random.choice(KILLED))
            select.select([], [], [], random.random())
        for turn in rounds:
            turn.result()
        for name in ("supervisor", "fs", "control"):
            self._kill(name)
        self.calm(0)

    def calm(self, until: float) -> None:
        """Rounds, one of each tenant at least."""
        for turn in self._rounds(until, stormy=False):
            turn.result()

    def rest(self, when: str, first: Sample | None) -> Sample:
        for tenant in self._tenants:
            tenant.tidy()
        counts = returned(self._daemon, first.counts) if first else settled(self._daemon)
        return sample(self._daemon, when, sum(self.done.values()), counts)

    def _rounds(self, until: float, *, stormy: bool) -> list[Future[None]]:
        def rounds(tenant: Tenant) -> None:
            tenant.round(stormy=stormy)
            while time.monotonic() < until:
                tenant.round(stormy=stormy)

        return [self._pool.submit(rounds, tenant) for tenant in self._tenants]

    def _kill(self, name: str) -> None:
        """And wait until the next one serves, and the next standby waits."""
        os.kill(pids_of(self._daemon)[name], signal.SIGKILL)
        self.done[f"kills of {name}"] += 1
        if name == "supervisor":
            self._daemon.ended()
            self._daemon.start()
        else:
            self._daemon.wait_for("child ready", module=f"secretfs.{name}")
        if name != "control":
            self._daemon.wait_for("standby loaded")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seconds", SECONDS)
def test_after_a_soak_there_is_no_more_of_anything_than_at_first(daemon, capsys, seconds):
    house = House(daemon)
    samples: list[Sample] = []
    began = time.monotonic()
    for leg in range(LEGS):
        stormy = leg < LEGS // 2
        until = began + seconds * (leg + 1) / LEGS
        (house.stormy if stormy else house.calm)(until)
        samples.append(house.rest(f"{'stormy' if stormy else 'calm'} leg {leg + 1}", samples[0] if samples else None))
        with capsys.disabled():
            sys.stdout.write(f"\n  {time.monotonic() - began:.0f} s, {samples[-1]}")
    with capsys.disabled():
        sys.stdout.write(f"\n  at each rest: {samples[0].counts}")
        sys.stdout.write(f"\n  {', '.join(f'{count} {act}' for act, count in sorted(house.done.items()))} ")
    young, successors, plateau, end = samples[0], samples[LEGS // 2 - 1], samples[LEGS // 2], samples[-1]
    assert grown(young, successors) == {}
    assert grown(plateau, end) == {}
    assert not [line for line in daemon.lines if "mounted anew" in line]
    assert daemon.end() == 0


def grown(before: Sample, after: Sample) -> dict[str, int]:
    """The processes that have more than MORE_KIB more, and how much."""
    more = {name: after.own_kib[name] - before.own_kib[name] for name in before.own_kib}
    return {name: kib for name, kib in more.items() if kib > MORE_KIB[name]}
