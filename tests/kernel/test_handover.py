"""The supervisor dies, or is replaced, and with it the other two: no reader notices."""

import os
import random
import select
import signal
from pathlib import Path

import pytest
from daemons import alive
from unnoticed import LATE_SECONDS, READERS, STEADY, nothing_was_noticed, prepared, shows

pytestmark = pytest.mark.kernel

ROUNDS = [(4, READERS), pytest.param(100, 8, marks=pytest.mark.long)]
MOMENTS = [(6, READERS), pytest.param(150, 8, marks=pytest.mark.long)]
UPGRADE_SECONDS = 1.5  # about; under load it takes longer, and the moments are earlier ones


def killed(daemon) -> None:
    fs = daemon.fs_pid()
    daemon.kill("supervisor")
    daemon.start()
    assert daemon.fs_pid() == fs, "fs was adopted"


def upgraded(daemon) -> None:
    supervisor, fs = daemon.pid, daemon.fs_pid()
    os.kill(supervisor, signal.SIGHUP)
    daemon.wait_for("upgrade")
    daemon.wait_for("ready")
    daemon.wait_for("child ready", module="secretfs.fs")
    assert daemon.pid == supervisor
    assert daemon.fs_pid() != fs
    assert not [line for line in daemon.lines if line.startswith("secretfs: error")], "an upgrade is no error"


def taken_over(daemon) -> None:
    fs = daemon.fs_pid()
    daemon.take_over()
    daemon.wait_for("child ready", module="secretfs.fs")
    assert daemon.fs_pid() != fs


@pytest.mark.parametrize(("rounds", "count"), ROUNDS)
@pytest.mark.parametrize("happens", [killed, upgraded, taken_over])
def test_no_reader_notices(daemon, capsys, happens, rounds, count):
    readers = prepared(daemon, count)
    looking = daemon.task("--service", "web")
    for index in range(rounds):
        happens(daemon)
        assert looking.cat("steady") == STEADY
        granted = index % 2 == 0
        waiting = daemon.grant("web", {"steady": "steady", **({"sub/other": "other"} if granted else {})})
        late = LATE_SECONDS if waiting else 0
        assert shows(looking, granted, within=late), f"after round {index}: {waiting}"
    assert len(daemon.api("GET", "/secretfs/v1/tasks")) == count + 1, "every task is still known"
    nothing_was_noticed(readers, capsys)
    assert zombies_of(daemon.pid) == []
    assert daemon.end() == 0


@pytest.mark.parametrize(("rounds", "count"), MOMENTS)
def test_a_supervisor_killed_at_any_moment_of_its_upgrade_is_not_noticed(daemon, capsys, rounds, count):
    readers = prepared(daemon, count)
    for index in range(rounds):
        os.kill(daemon.pid, signal.SIGHUP)
        select.select([], [], [], random.random() * UPGRADE_SECONDS)
        daemon.kill("supervisor")
        daemon.start()
        daemon.grant("web", {"steady": "steady", **({"other": "other"} if index % 2 else {})})
    nothing_was_noticed(readers, capsys)
    assert len(daemon.living_fs()) == 1


def test_sighup_twice_and_again_while_fs_is_replaced_is_not_noticed(daemon, capsys):
    readers = prepared(daemon)
    supervisor, fs = daemon.pid, daemon.fs_pid()
    for _ in range(2):
        os.kill(supervisor, signal.SIGHUP)
    daemon.wait_for("upgrade")
    os.kill(supervisor, signal.SIGHUP)  # it is about to exec
    daemon.wait_for("ready")
    os.kill(supervisor, signal.SIGHUP)  # the next fs gets ready
    daemon.wait_for("upgrade")
    daemon.wait_for("ready")
    daemon.wait_for("child ready", module="secretfs.fs")
    assert daemon.living_fs() == [daemon.fs_pid()] != [fs]
    daemon.grant("web", {"steady": "steady", "other": "other"})
    nothing_was_noticed(readers, capsys)
    assert daemon.end() == 0


def test_a_supervisor_killed_when_it_has_just_adopted_is_not_noticed(daemon, capsys):
    readers = prepared(daemon)
    fs = daemon.fs_pid()
    daemon.kill("supervisor")
    daemon.spawn()
    daemon.wait_for("fs adopted", pid=fs)
    daemon.kill("supervisor")
    daemon.start()
    daemon.grant("web", {"steady": "steady", "other": "other"})
    assert daemon.living_fs() == [fs]
    nothing_was_noticed(readers, capsys)


def test_after_the_end_of_supervisor_and_fs_at_once_a_start_repairs(daemon):
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    daemon.kill("supervisor", "fs")
    assert task.cat("db") in ("ENOTCONN", "ECONNABORTED")
    daemon.start()
    daemon.wait_for("repaired", failed=0)
    assert task.cat("db") == b"This is a secret"


def test_a_change_that_a_dead_supervisor_did_not_finish_is_finished_by_the_next(daemon):
    """The arena has to grow, and nobody is there to lock it."""
    value = os.urandom(400_000)
    for index in range(4):
        daemon.secret(f"s{index}", value[index:])
    daemon.cli("service", "create", "web")
    task = daemon.task("--service", "web", "--secret", "s0")
    daemon.grant("web", {f"t{index}": f"s{index}" for index in range(4)})
    daemon.kill("supervisor")
    daemon.start()
    assert [task.cat(f"t{index}") for index in range(4)] == [value[index:] for index in range(4)]


def test_takeover_with_nothing_to_take_is_a_start(idle_daemon):
    idle_daemon.start("--takeover")
    assert idle_daemon.end() == 0


def test_a_stopped_supervisor_and_a_stopped_control_are_replaced(daemon, capsys):
    readers = prepared(daemon)
    stopped = [daemon.pid, daemon.children()["control"]]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    daemon.take_over()
    daemon.secret("new", b"This is a secret")
    assert not any(Path(f"/proc/{pid}/stat").exists() and alive(pid) for pid in stopped)
    nothing_was_noticed(readers, capsys)


def test_what_was_mounted_elsewhere_is_said_and_fs_serves_on(daemon, tmp_path):
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    daemon.kill("supervisor")
    daemon.spawn("--mountpoint", str(tmp_path / "elsewhere"))
    assert daemon.ended() == 1
    daemon.read_to_end()
    assert f"serves '{daemon.mountpoint}': start with --mountpoint {daemon.mountpoint}" in "".join(daemon.lines)
    assert task.cat("db") == b"This is a secret"
    fs = daemon.fs_pid()
    daemon.start()
    assert daemon.fs_pid() == fs


def test_a_start_that_is_refused_leaves_fs_to_the_next(daemon):
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    daemon.kill("supervisor")
    key = daemon.key.read_bytes()
    daemon.key.write_bytes(os.urandom(32).hex().encode())
    daemon.spawn()
    assert daemon.ended() == 1
    assert task.cat("db") == b"This is a secret"
    daemon.key.write_bytes(key)
    daemon.start()
    assert task.cat("db") == b"This is a secret"


def test_a_takeover_that_is_of_no_use_leaves_fs_to_the_next(daemon):
    """The holder is ended before anybody knows."""
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    fs = daemon.fs_pid()
    key = daemon.key.read_bytes()
    daemon.key.write_bytes(os.urandom(32).hex().encode())
    daemon.take_over(becomes_ready=False)
    assert daemon.ended() == 1
    assert task.cat("db") == b"This is a secret"
    daemon.key.write_bytes(key)
    daemon.start()
    assert (daemon.fs_pid(), task.cat("db")) == (fs, b"This is a secret")


def test_the_arena_is_locked_again(daemon):
    daemon.secret("big", os.urandom(400_000))
    daemon.task("--secret", "big")
    before = locked_bytes(daemon.pid)
    daemon.kill("supervisor")
    daemon.start()
    assert locked_bytes(daemon.pid) >= before - (1 << 20)  # the mailbox is another one
    daemon.end()


def test_the_arena_stays_locked_while_there_is_no_supervisor(daemon):
    for index in range(6):
        daemon.secret(f"s{index}", os.urandom(500_000))
    tasks = [daemon.task(*(word for index in range(6) for word in ("--secret", f"s{index}")))]
    fs = daemon.fs_pid()
    daemon.kill("supervisor")
    assert locked_bytes(fs) >= 3_000_000, "it has grown since its start"
    daemon.start()
    os.kill(fs, signal.SIGKILL)
    daemon.wait_for("child died", module="secretfs.fs")
    daemon.wait_for("child ready", module="secretfs.fs")
    daemon.kill("supervisor")
    assert locked_bytes(daemon.fs_pid()) >= 3_000_000, "a successor finds it full"
    assert tasks[0].do("stat", "/run/secrets/s5")[3] == 500_000


@pytest.mark.long
def test_an_fs_that_no_supervisor_comes_to_wipes_and_ends_and_the_next_start_repairs(daemon):
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    fs = daemon.fs_pid()
    daemon.kill("supervisor")
    assert task.cat("db") == b"This is a secret"
    ended(fs, 40)
    assert task.cat("db") in ("ENOTCONN", "ECONNABORTED")
    daemon.start()
    daemon.wait_for("repaired")
    assert task.cat("db") == b"This is a secret"


def test_an_fs_that_gives_nothing_is_ended_and_its_tasks_repaired(daemon):
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    fs = daemon.fs_pid()
    os.kill(fs, signal.SIGSTOP)
    daemon.kill("supervisor")
    daemon.start()
    daemon.wait_for("repaired")
    assert not alive(fs)
    assert task.cat("db") == b"This is a secret"


def zombies_of(pid: int) -> list[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in children if not alive(int(child))]


def locked_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmLck:")[2].split()[0]) * 1024


def ended(pid: int, seconds: float) -> None:
    fd = os.pidfd_open(pid)
    assert select.select([fd], [], [], seconds)[0]
    os.close(fd)
