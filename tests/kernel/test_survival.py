"""kill -9 of any process of secretfs, at any moment: no task sees an error."""

import os
import sys

import pytest
from daemons import report_of
from faults import ARMED, FIRED, KINDS, faulty
from unnoticed import LATE_SECONDS, shows

pytestmark = pytest.mark.kernel

STEADY = os.urandom(3000)
KILLS = 50
READERS = 4


def prepared(daemon) -> list:
    """A service with one secret that stays, and readers of it."""
    daemon.secret("steady", STEADY)
    daemon.secret("other", os.urandom(5000))
    daemon.cli("service", "create", "--secret", "steady", "web")
    return daemon.readers(READERS, "web", {"steady": [STEADY]})


def nothing_was_noticed(readers, capsys) -> None:
    reports = [report_of(reader) for reader in readers]
    with capsys.disabled():
        slowest = max(report["slowest"] for report in reports)
        sys.stdout.write(f" {sum(report['reads'] for report in reports)} reads, slowest {slowest:.2f} s ")
    assert [(report["errors"], report["wrong"]) for report in reports] == [([], 0)] * READERS


@pytest.mark.parametrize(
    ("name", "kills"), [("fs", KILLS), ("control", 20), pytest.param("control", KILLS, marks=pytest.mark.long)]
)
def test_many_kills_are_not_noticed(daemon, capsys, name, kills):
    """A control is started less and less soon, the more have died: most of the time is that."""
    readers = prepared(daemon)
    looking = daemon.task("--service", "web")
    for _ in range(kills):
        daemon.kill(name)
        daemon.wait_for("child ready", module=f"secretfs.{name}")
        assert looking.cat("steady") == STEADY
    nothing_was_noticed(readers, capsys)


def test_fifty_kills_of_fs_inside_notifications_are_not_noticed_and_every_change_shows(idle_daemon, faults, capsys):
    path, memory = faults
    idle_daemon.start(command=faulty(path))
    readers = prepared(idle_daemon)
    looking = idle_daemon.task("--service", "web")
    for index in range(KILLS):
        kind = index % len(KINDS)
        granted = index % 2 == 0
        memory[ARMED] = kind + 1
        waiting = idle_daemon.grant("web", {"steady": "steady", **({"sub/other": "other"} if granted else {})})
        while memory[ARMED]:  # nothing of this kind was due: the next change has it
            granted = not granted
            waiting = idle_daemon.grant("web", {"steady": "steady", **({"sub/other": "other"} if granted else {})})
        idle_daemon.wait_for("child ready", module="secretfs.fs")
        assert shows(looking, granted, within=LATE_SECONDS if waiting else 0), f"after change {index}: {waiting}"
    assert memory[FIRED] == KILLS
    nothing_was_noticed(readers, capsys)


def test_kill_9_of_everything_loses_nothing_that_was_acknowledged(idle_daemon):
    idle_daemon.start()
    names = [f"s{index}" for index in range(10)]
    ids = [idle_daemon.secret(name, os.urandom(2000)) for name in names]
    idle_daemon.secret("known", b"This is a secret")
    idle_daemon.cli("service", "create", "--secret", "known", "web")
    idle_daemon.kill()
    idle_daemon.start()
    assert [idle_daemon.out("secret", "inspect", "-f", "{{.ID}}", name) for name in names] == ids
    assert idle_daemon.task("--service", "web").cat("known") == b"This is a secret"
