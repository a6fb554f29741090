"""Kills of single processes, at any moment, while everybody reads and somebody writes: nobody sees anything of it."""

import contextlib
import os
import random
import select
import sys
import time

import pytest
from daemons import Daemon, report_of
from writer import VALUE_BYTES, Writer

pytestmark = pytest.mark.kernel

KILLS = [100, pytest.param(1000, marks=pytest.mark.long)]
TOTAL_KILLS = [3, pytest.param(20, marks=pytest.mark.long)]
READERS = 8
PROCESSES = ("fs", "control", "supervisor", "standby")
START_SECONDS = 0.6  # of whoever comes after the last one: one kill in four is in it
REQUEST_SECONDS = 0.06  # from one request of the writer's to the next: the others are in one
REPAIR_SECONDS = 2.0
VALUES = [os.urandom(VALUE_BYTES) for _ in range(5)]
STEADY = os.urandom(3000)


def world(daemon: Daemon) -> tuple[list, Writer]:
    """Readers of what stays and of what turns, and who turns it."""
    for name, value in (("steady", STEADY), ("turning", VALUES[-1]), ("coming", VALUES[0])):
        daemon.secret(name, value)
    daemon.cli("service", "create", "--secret", "steady", "--secret", "turning", "web")
    readers = daemon.readers(READERS, "web", {"steady": [STEADY], "turning": VALUES})
    return readers, Writer(daemon, "web", daemon.task("--service", "web"), VALUES)


def kill_one(daemon: Daemon) -> str:
    """SIGKILL of any process that is there; a supervisor has a next one."""
    while True:
        name = random.choice(PROCESSES)
        with contextlib.suppress(KeyError):  # it is being started
            daemon.kill(name)
            if name == "supervisor":
                daemon.start()
            return name


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", KILLS)
def test_single_kills_in_all_phases_are_noticed_by_nobody(daemon, capsys, kills):
    readers, writer = world(daemon)
    writer.start()
    killed = []
    for index in range(kills):
        if index % 4:
            writer.until_acknowledged()
        select.select([], [], [], random.random() * (REQUEST_SECONDS if index % 4 else START_SECONDS))
        killed.append(kill_one(daemon))
        assert writer.is_well()
    writer.stop()
    reports = [report_of(reader) for reader in readers]
    with capsys.disabled():
        counts = ", ".join(f"{name} {killed.count(name)}" for name in PROCESSES)
        reads, slowest = sum(report["reads"] for report in reports), max(report["slowest"] for report in reports)
        sys.stdout.write(
            f" {counts}; {writer.changes} changes, {writer.late} late; {reads} reads, slowest {slowest:.2f} s "
        )
    assert [(report["errors"], report["wrong"]) for report in reports] == [([], 0)] * READERS
    there = {found["ID"] for found in daemon.api("GET", "/secrets")}
    assert set(writer.created) <= there, "every acknowledged secret"
    assert not [line for line in daemon.lines if "mounted anew" in line]
    assert daemon.end() == 0


@pytest.mark.parametrize("kills", TOTAL_KILLS)
def test_after_kills_of_everything_every_reader_reads_again_soon(daemon, capsys, kills):
    readers, _ = world(daemon)
    task = daemon.task("--service", "web")
    seconds = []
    for _ in range(kills):
        daemon.kill()
        began = time.monotonic()
        daemon.start()
        while task.cat("steady") != STEADY:
            assert time.monotonic() - began < 30
        seconds.append(time.monotonic() - began)
    reports = [report_of(reader) for reader in readers]
    with capsys.disabled():
        sys.stdout.write(f" reading again after {min(seconds):.2f} to {max(seconds):.2f} s ")
    assert [report["wrong"] for report in reports] == [0] * READERS
    assert min(seconds) < REPAIR_SECONDS
