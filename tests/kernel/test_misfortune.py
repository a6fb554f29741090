"""What happens on a host: processes that stand still, memory and disks that are full, a mountpoint that is removed."""

import contextlib
import os
import random
import select
import signal
import subprocess
import time

import pytest
from daemons import report_of
from faults import ARMED, BROKEN, faulty
from scarcity import failing, little_memory
from unnoticed import STEADY, nothing_was_noticed, prepared

pytestmark = pytest.mark.kernel

STOPPED_SECONDS = 2.0
MANY = [f"{'long' * 20}/{index}/{'name' * 20}" for index in range(400)]
LITTLE_BYTES = 128 << 10
LATE_SECONDS = 30.0
STARTS = [6, pytest.param(60, marks=pytest.mark.long)]
START_SECONDS = 1.0


def until_shown(task, target: str, size: int) -> None:
    deadline = time.monotonic() + LATE_SECONDS
    while len(task.cat(target)) != size:
        assert time.monotonic() < deadline, task.cat(target)


def wait(seconds: float) -> None:
    select.select([], [], [], seconds)


# -- beginnings --------------------------------------------------------------------------------------------------------


def test_a_first_fs_that_dies_before_init_was_answered_is_followed_by_one_on_another_mount(idle_daemon, faults):
    path, memory = faults
    memory[ARMED] = BROKEN
    idle_daemon.spawn(command=faulty(path))
    idle_daemon.wait_for("mounted anew")
    memory[ARMED] = 0
    idle_daemon.wait_for("ready")
    idle_daemon.secret("steady", STEADY)
    assert idle_daemon.task("--secret", "steady").cat("steady") == STEADY
    assert idle_daemon.end() == 0


@pytest.mark.parametrize("rounds", STARTS)
@pytest.mark.parametrize("name", ["standby", "control"])
def test_a_start_goes_on_when_a_child_is_killed_over_it(idle_daemon, name, rounds):
    """An fs that is not ready yet is none that serves."""
    for _ in range(rounds):
        idle_daemon.spawn()
        wait(random.random() * START_SECONDS)
        with contextlib.suppress(KeyError):
            idle_daemon.kill(name)
        idle_daemon.wait_for("ready")
        assert idle_daemon.end() == 0


@pytest.mark.parametrize("rounds", STARTS)
@pytest.mark.parametrize("names", [("supervisor",), ()])
def test_a_start_that_was_killed_stands_in_nobodys_way(idle_daemon, names, rounds):
    """With no name: everybody."""
    for _ in range(rounds):
        idle_daemon.spawn()
        wait(random.random() * START_SECONDS)
        idle_daemon.kill(*names)
    idle_daemon.start()
    assert idle_daemon.end() == 0


# -- standing still, and gone in pairs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fs", "control"])
def test_one_that_stands_still_is_replaced_and_nobody_notices(daemon, capsys, name):
    readers = prepared(daemon)
    stopped = daemon.children()[name]
    os.kill(stopped, signal.SIGSTOP)
    daemon.wait_for("child died", pid=stopped, cause="stopped")
    daemon.wait_for("child ready", module=f"secretfs.{name}")
    daemon.grant("web", {"steady": "steady", "other": "other"})
    nothing_was_noticed(readers, capsys)


def test_while_the_supervisor_stands_still_everybody_is_served_and_a_dead_fs_is_replaced_afterwards(daemon, capsys):
    readers = prepared(daemon)
    os.kill(daemon.pid, signal.SIGSTOP)
    daemon.grant("web", {"steady": "steady", "other": "other"})
    wait(STOPPED_SECONDS)
    daemon.kill("fs")
    os.kill(daemon.pid, signal.SIGCONT)
    daemon.wait_for("child ready", module="secretfs.fs")
    daemon.grant("web", {"steady": "steady"})
    nothing_was_noticed(readers, capsys)


@pytest.mark.parametrize("names", [("fs", "control"), ("control", "supervisor"), ("control", "fs", "standby")])
def test_two_at_once_that_leave_one_with_the_device_are_not_noticed(daemon, capsys, names):
    readers = prepared(daemon)
    for _ in range(3):
        daemon.kill(*names)
        if "supervisor" in names:
            daemon.start()
        daemon.grant("web", {"steady": "steady", "other": "other"})
        daemon.grant("web", {"steady": "steady"})
    nothing_was_noticed(readers, capsys)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_an_fs_that_runs_out_of_memory_is_replaced_and_the_change_is_made(daemon, capsys):
    readers = prepared(daemon)
    task = daemon.task("--service", "web")
    fs = daemon.fs_pid()
    with little_memory(fs, LITTLE_BYTES):
        daemon.grant("web", {"steady": "steady", **dict.fromkeys(MANY, "other")})
        daemon.wait_for("child died", pid=fs)
    until_shown(task, MANY[-1], 5000)
    nothing_was_noticed(readers, capsys)


def test_a_control_that_runs_out_of_memory_is_replaced_and_loses_nothing(daemon, capsys):
    readers = prepared(daemon)
    ids = [daemon.secret(f"s{index}", os.urandom(400_000)) for index in range(3)]
    control = daemon.children()["control"]
    with little_memory(control, LITTLE_BYTES):
        for index in range(20):
            if daemon.cli("secret", "create", f"t{index}", "-", input=os.urandom(400_000), check=False).returncode:
                break
    daemon.secret("later", b"This is a secret")
    assert set(ids) <= {found["ID"] for found in daemon.api("GET", "/secrets")}
    nothing_was_noticed(readers, capsys)


# -- the disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "error"), [("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fsync,fdatasync", "EIO"), ("pread64", "EIO")]
)
def test_a_disk_that_fails_refuses_changes_and_loses_nothing(daemon, capsys, calls, error):
    readers = prepared(daemon)
    ids = [daemon.secret(f"s{index}", os.urandom(5000)) for index in range(5)]
    with failing(daemon.children()["control"], calls, error):
        refused = [
            daemon.cli("secret", "create", f"t{index}", "-", input=os.urandom(5000), check=False).returncode
            for index in range(3)
        ]
    if calls != "pread64":  # what is read is in memory, mostly
        assert refused == [1] * 3
    daemon.secret("later", b"This is a secret")
    daemon.kill("control")
    daemon.wait_for("child ready", module="secretfs.control")
    there = {found["ID"] for found in daemon.api("GET", "/secrets")}
    assert set(ids) <= there
    nothing_was_noticed(readers, capsys)


# -- the mountpoint ----------------------------------------------------------------------------------------------------


def test_a_mountpoint_that_is_removed_is_there_again_and_nobody_notices(daemon, capsys):
    readers = prepared(daemon)
    script = 'while umount "$1"; do :; done 2>/dev/null; rmdir "$1"'
    for _ in range(3):
        subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", daemon.mountpoint], check=True)
        daemon.wait_for("the mount was taken away: it is back")
        assert daemon.task("--service", "web").cat("steady") == STEADY
    nothing_was_noticed(readers, capsys)
    assert daemon.end() == 0


def test_a_mountpoint_that_is_removed_while_the_mount_is_made_anew_is_there_again(daemon):
    daemon.secret("steady", STEADY)
    daemon.cli("service", "create", "--secret", "steady", "web")
    readers = daemon.readers(2, "web", {"steady": [STEADY]})
    script = 'umount -f "$1"; while umount "$1"; do :; done 2>/dev/null; rmdir "$1"'
    subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", daemon.mountpoint], stderr=subprocess.DEVNULL)
    daemon.wait_for("mounted anew")
    daemon.wait_for("repaired", failed=0)
    assert daemon.task("--service", "web").cat("steady") == STEADY
    assert [report_of(reader)["wrong"] for reader in readers] == [0, 0]
