"""Mounts that only look like ours: an ordinary user can make one with any name, type and root."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from ordinary import Host

pytestmark = pytest.mark.kernel

FORGER = str(Path(__file__).with_name("forger.py"))
ENDED_SECONDS = 20
ENDED_SECONDS = 20
VALUE = b"This is a secret"


class Forger:
    """A process of an ordinary user; ``with`` ends it."""

    def __init__(self, host: Host, task: str) -> None:
        command = [*host.prefix, sys.executable, FORGER, task]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        self.device, error = self._said()
        assert error in ("ENOTCONN", "ECONNABORTED"), "as dead as a tree whose daemon was killed"
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def found(self) -> object:
        """The names in his tree, or the name of an errno."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self):
        line = self._process.stdout.readline()
        assert line, "it ended"
        return json.loads(line)


@pytest.fixture
def host(tmp_path):
    """Where an ordinary user may open /dev/fuse."""
    made = Host(tmp_path)
    yield made
    made.end()


@pytest.fixture
def victim(daemon):
    """A task, and its id."""
    daemon.secret("db", VALUE)
    task = daemon.task("--secret", "db")
    return task, daemon.out("ps", "-q")


def lost_and_started(daemon) -> None:
    daemon.kill()
    daemon.start()
    daemon.wait_for("repaired", mounts=1, failed=0)


def test_a_forged_dead_tree_gets_no_living_one(daemon, victim, host):
    task, number = victim
    with Forger(host, number) as forger:
        lost_and_started(daemon)
        assert task.cat("db") == VALUE
        assert forger.found() in ("ENOTCONN", "ECONNABORTED")


def test_a_forged_tree_that_got_the_number_of_one_of_ours_gets_no_living_one(daemon, victim, host):
    """The kernel gives the number of a mount that is gone to the next."""
    task, number = victim
    with Forger(host, number) as forger:
        record = daemon.runtime / "daemon.record"
        noted = json.loads(record.read_text())
        noted["devices"].append(forger.device)
        record.write_text(json.dumps(noted))
        lost_and_started(daemon)
        assert task.cat("db") == VALUE
        assert forger.found() in ("ENOTCONN", "ECONNABORTED")
        assert forger.device not in json.loads(record.read_text())["devices"]


def test_devices_are_noted_for_root_alone_as_long_as_a_mount_of_them_is_left(daemon, victim):
    task, _ = victim
    record = daemon.runtime / "daemon.record"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    before = json.loads(record.read_text())["devices"]
    assert daemon.end() == 0
    daemon.start()
    noted = json.loads(record.read_text())["devices"]
    assert set(before) < set(noted)
    assert len(noted) == 2
    task.stop()
    daemon.kill()
    daemon.start()
    assert len(set(json.loads(record.read_text())["devices"]) - set(noted)) <= 1
    assert len(json.loads(record.read_text())["devices"]) == 1


@pytest.mark.parametrize("content", [None, "", "{}", '{"boot": "another", "devices": ["0:1"]}'])
def test_where_nothing_is_noted_the_mount_at_the_mountpoint_says_which_was_ours(daemon, victim, host, content):
    """An older version notes nothing."""
    task, number = victim
    with Forger(host, number) as forger:
        record = daemon.runtime / "daemon.record"
        record.unlink()
        if content is not None:
            record.write_text(content)
        lost_and_started(daemon)
        assert task.cat("db") == VALUE
        assert forger.found() in ("ENOTCONN", "ECONNABORTED")


def test_who_has_a_forged_tree_is_no_process_of_the_task(daemon, victim, host):
    task, number = victim
    with Forger(host, number):
        task.stop()
        deadline = time.monotonic() + ENDED_SECONDS
        while daemon.api("GET", "/secretfs/v1/tasks"):
            assert time.monotonic() < deadline, "the task does not end"
