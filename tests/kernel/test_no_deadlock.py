"""What the kernel is told races what clients ask: lookups, opens, page faults. Nobody ever waits for nobody."""

import base64
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

RACER = str(Path(__file__).with_name("racer.py"))
NOTIFICATIONS = [2_000, pytest.param(10_000, marks=pytest.mark.long)]
RACERS = 6
TARGETS = [*(f"t{index}" for index in range(6)), *(f"sub{index}/t" for index in range(3))]
VALUE_BYTES = 9_000  # three pages
DEADLINE_SECONDS = 240.0
END_SECONDS = 20.0
# For a file that comes: its name. For one that goes: zeros, pages, its name. For one that turns: zeros, pages.
COMES, GOES, TURNS = 1, 3, 2


@pytest.fixture
def race(idle_daemon, tmp_path):
    """A daemon whose connection is ended whatever becomes of it: a deadlock would survive kill -9 of everybody."""
    idle_daemon.start()
    control = tmp_path / "fusectl"
    control.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", control], check=True)
    try:
        yield idle_daemon
    finally:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[4] == str(idle_daemon.mountpoint):
                (control / fields[2].partition(":")[2] / "abort").write_text("1")
        subprocess.run(["umount", control], check=True)


def rotated(daemon) -> None:
    body = {"Data": base64.b64encode(os.urandom(VALUE_BYTES)).decode(), "Drain": 0}
    daemon.api("POST", "/secretfs/v1/secrets/racing/versions", body)


def racing(daemon) -> list[subprocess.Popen]:
    """Processes in tasks of their own."""
    command = [*daemon.program, "run", "--service", "web", "--", sys.executable, RACER, "/run/secrets", *TARGETS]
    racers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=daemon.environment) for _ in range(RACERS)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "racing\n"
    return racers


def race_until_told(daemon, notifications: int) -> int:
    """Grant, rotate, revoke, and begin anew; how many notifications that were."""
    told = 0
    while told < notifications:
        daemon.grant("web", dict.fromkeys(TARGETS, "racing"))
        for _ in range(2):
            rotated(daemon)
        daemon.grant("web", {})
        told += RACERS * len(TARGETS) * (COMES + 2 * TURNS + GOES)
    return told


@pytest.mark.parametrize("notifications", NOTIFICATIONS)
def test_notifications_race_lookups_opens_and_faults(race, capsys, notifications):
    race.secret("racing", os.urandom(VALUE_BYTES))
    race.cli("service", "create", "web")
    racers = racing(race)
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(1) as thread:
            told = thread.submit(race_until_told, race, notifications).result(DEADLINE_SECONDS)
        seconds = time.monotonic() - began
        for racer in racers:
            racer.terminate()
        reports = [json.loads(racer.communicate(timeout=END_SECONDS)[0].splitlines()[-1]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    with capsys.disabled():
        done = {act: sum(report["done"][act] for report in reports) for act in reports[0]["done"]}
        sys.stdout.write(f" {told} notifications in {seconds:.0f} s, against {done} ")
    assert [report["unexpected"] for report in reports] == [[]] * RACERS
    assert all(done.values())
    failed = [line for line in race.lines if "notification failed" in line]
    assert not failed, failed[0]
