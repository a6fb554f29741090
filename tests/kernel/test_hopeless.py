"""Where another fs is no help: the connection is ended, so that nobody waits for ever, and everybody gets a new one."""

import os
import time

import pytest
from daemons import report_of
from faults import ARMED, BROKEN, CRASH, FIRED, OLD_KERNEL, POISON, STUCK_SECONDS, TRAP, VICTIM, VICTIM_AT, faulty

pytestmark = pytest.mark.kernel

STEADY = os.urandom(3000)
READERS = 4
DEAD = ("ENOTCONN", "ECONNABORTED")
IN_A_ROW = 5
STUCK = 3  # seconds, of 30
REPAIR_SECONDS = 2.0  # the fastest of some rounds shows it
ROUNDS = 3
NEVER_SECONDS = 30.0


@pytest.fixture
def armed(idle_daemon, faults):
    """A daemon that can be brought to grief, a service of one secret, and the bytes that do it."""
    path, memory = faults
    memory[STUCK_SECONDS] = STUCK
    idle_daemon.start(command=faulty(path))
    idle_daemon.secret("steady", STEADY)
    idle_daemon.cli("service", "create", "--secret", "steady", "web")
    return idle_daemon, memory


def reading_again(task, began: float) -> float:
    """Seconds until it reads the right bytes; until then each read is an error."""
    while (found := task.cat("steady")) != STEADY:
        assert found in (*DEAD, "EACCES", "ENOENT"), found
        assert time.monotonic() - began < NEVER_SECONDS, found
    return time.monotonic() - began


def nothing_was_wrong(readers) -> None:
    assert [report_of(reader)["wrong"] for reader in readers] == [0] * len(readers)


@pytest.mark.parametrize(
    ("fault", "times", "event"),
    [(POISON, IN_A_ROW, "each fs dies of this"), (TRAP, 2, "no fs serves: starting over")],
)
def test_a_request_of_which_each_fs_dies_gets_an_error_and_everybody_else_goes_on(armed, fault, times, event):
    """The second that hangs does so before it was ready."""
    daemon, memory = armed
    readers = daemon.readers(READERS, "web", {"steady": [STEADY]})
    victim, other = daemon.task("--service", "web"), daemon.task("--service", "web")
    VICTIM.pack_into(memory, VICTIM_AT, victim.pid)
    memory[ARMED] = fault
    assert victim.cat("steady") in DEAD
    assert memory[FIRED] == times
    memory[ARMED] = 0
    daemon.wait_for(event, operation="open", pid=victim.pid)
    daemon.wait_for("mounted anew")
    daemon.wait_for("repaired", failed=0)
    assert [task.cat("steady") for task in (victim, other)] == [STEADY] * 2
    nothing_was_wrong(readers)
    assert daemon.end() == 0


def test_an_fs_that_dies_right_after_each_ready_keeps_nobody_waiting_for_ever(armed):
    daemon, memory = armed
    task = daemon.task("--service", "web")
    daemon.wait_for("standby loaded")
    memory[ARMED] = CRASH
    daemon.kill("fs")
    daemon.wait_for("mounted anew")
    memory[ARMED] = 0
    reading_again(task, time.monotonic())
    daemon.kill("fs")
    assert task.cat("steady") == STEADY
    assert daemon.end() == 0


def test_an_fs_that_cannot_start_keeps_nobody_waiting_for_ever(armed):
    """Over and over: the second time, what is in the arena is not trusted any more."""
    daemon, memory = armed
    task = daemon.task("--service", "web")
    daemon.wait_for("standby loaded")
    memory[ARMED] = BROKEN
    daemon.kill("fs", "standby")
    began = time.monotonic()
    assert task.cat("steady") in DEAD
    assert time.monotonic() - began > STUCK / 2
    for _ in range(2):
        daemon.wait_for("no fs serves: starting over")
    memory[ARMED] = 0
    reading_again(task, time.monotonic())
    assert daemon.end() == 0


# -- kernels before 6.9 ------------------------------------------------------------------------------------------------


def test_where_nothing_is_sent_again_the_tasks_of_a_dead_fs_are_repaired(armed, capsys):
    daemon, memory = armed
    memory[OLD_KERNEL] = 1
    readers = daemon.readers(READERS, "web", {"steady": [STEADY]})
    task = daemon.task("--service", "web")
    seconds = []
    for _ in range(ROUNDS):
        daemon.kill("fs")
        began = time.monotonic()
        daemon.wait_for("this kernel sends no request again: its mount ends with each fs")
        daemon.wait_for("mounted anew")
        daemon.wait_for("repaired", failed=0)
        seconds.append(reading_again(task, began))
    nothing_was_wrong(readers)
    assert min(seconds) < REPAIR_SECONDS
    assert daemon.end() == 0


def test_where_nothing_is_sent_again_the_death_of_control_or_of_a_standby_is_not_noticed(armed):
    daemon, memory = armed
    memory[OLD_KERNEL] = 1
    readers = daemon.readers(READERS, "web", {"steady": [STEADY]})
    daemon.wait_for("standby loaded")
    daemon.kill("standby")
    daemon.wait_for("standby loaded")
    daemon.kill("control")
    daemon.wait_for("child ready", module="secretfs.control")
    assert [(report["errors"], report["wrong"]) for report in map(report_of, readers)] == [([], 0)] * READERS
