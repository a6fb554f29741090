"""The mount itself is lost: everything was killed, or somebody has ended it. Every task reads again, within seconds."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from daemons import Daemon, report_of

pytestmark = pytest.mark.kernel

STEADY = os.urandom(3000)
READERS = 8
ROUNDS = [5, pytest.param(20, marks=pytest.mark.long)]
REPAIR_SECONDS = 2.0  # on a machine that has nothing else to do: about 1; the fastest of some rounds shows it
NEVER_SECONDS = 30.0
DEAD = ("ENOTCONN", "ECONNABORTED", "EACCES", "ENOENT")


@pytest.fixture
def web(daemon):
    """The daemon, with a service of one secret."""
    daemon.secret("steady", STEADY)
    daemon.cli("service", "create", "--secret", "steady", "web")
    return daemon


def reading_again(*tasks, began: float) -> float:
    """Seconds until every task reads the right bytes; until then each read is an error, and none is wrong."""
    for task in tasks:
        while (found := task.cat("steady")) != STEADY:
            assert found in DEAD, found
            assert time.monotonic() - began < NEVER_SECONDS, f"process {task.pid} never reads again: {found}"
    return time.monotonic() - began


def mounts_in(task, path: str = "/run/secrets") -> list[str]:
    """The devices of what is mounted there in the task's mount namespace."""
    lines = Path(f"/proc/{task.pid}/mountinfo").read_text().splitlines()
    return [fields[2] for fields in map(str.split, lines) if fields[4] == path]


def device_of(daemon) -> str:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return next(fields[2] for fields in map(str.split, lines) if fields[4] == str(daemon.mountpoint))


def killed(daemon) -> None:
    daemon.kill()


def stopped(daemon) -> None:
    assert daemon.end() == 0


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("lost", [killed, stopped])
def test_after_a_start_every_reader_reads_again(web, capsys, lost, rounds):
    seconds = []
    for _ in range(rounds):
        readers = web.readers(READERS, "web", {"steady": [STEADY]})
        looking = web.task("--service", "web")
        lost(web)
        assert looking.cat("steady") in DEAD
        web.spawn()
        web.wait_for("repaired", failed=0)
        assert looking.cat("steady") == STEADY
        assert mounts_in(looking) == [device_of(web)], "the dead mount is gone"
        reports = [report_of(reader) for reader in readers]
        assert [report["wrong"] for report in reports] == [0] * READERS
        seconds.append(max(report["gap"] for report in reports))
        looking.stop()
    with capsys.disabled():
        sys.stdout.write(f" longest without a read: median {statistics.median(seconds):.2f}, {max(seconds):.2f} s ")
    assert min(seconds) < REPAIR_SECONDS
    assert web.task("--service", "web").cat("steady") == STEADY


def test_tasks_are_known_after_a_start_and_those_that_ended_meanwhile_are_not(web):
    stays, goes = web.task("--service", "web"), web.task("--secret", "steady")
    web.kill()
    goes.kill()
    web.start()
    web.wait_for("repaired", mounts=2, failed=0)
    while len(web.api("GET", "/secretfs/v1/tasks")) > 1:
        continue
    assert stays.cat("steady") == STEADY
    web.cli("service", "update", "--secret-rm", "steady", "web")
    assert stays.cat("steady") == "ENOENT", "what is revoked after a repair is revoked"
    web.cli("secret", "rm", "steady")


# -- ended from outside ------------------------------------------------------------------------------------------------


def umount_f(daemon, _place) -> None:
    subprocess.run(["umount", "-f", daemon.mountpoint], capture_output=True)  # "target is busy": aborted even so


def abort(daemon, place) -> None:
    subprocess.run(["mount", "-t", "fusectl", "none", place], check=True)
    try:
        (place / device_of(daemon).partition(":")[2] / "abort").write_text("1")
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("ended", [umount_f, abort])
def test_a_connection_that_was_ended_is_made_anew(web, tmp_path, capsys, ended):
    readers = web.readers(READERS, "web", {"steady": [STEADY]})
    looking = web.task("--service", "web")
    seconds = []
    for _ in range(5):
        before = device_of(web)
        began = time.monotonic()
        ended(web, tmp_path)
        web.wait_for("mounted anew")
        web.wait_for("repaired")
        seconds.append(reading_again(looking, began=began))
        assert mounts_in(looking) == [device_of(web)] != [before]
        assert web.task("--service", "web").cat("steady") == STEADY
    reports = [report_of(reader) for reader in readers]
    with capsys.disabled():
        gap = max(report["gap"] for report in reports)
        sys.stdout.write(f" median {statistics.median(seconds):.2f} s, longest without a read {gap:.2f} s ")
    assert [report["wrong"] for report in reports] == [0] * READERS
    assert min(seconds) < REPAIR_SECONDS


@pytest.mark.parametrize("options", [(), ("--lazy",)])
def test_a_mount_that_was_taken_away_is_put_back_and_no_reader_notices(web, options):
    readers = web.readers(READERS, "web", {"steady": [STEADY]})
    device = device_of(web)
    for _ in range(5):
        subprocess.run(["umount", *options, web.mountpoint], check=True)
        web.wait_for("the mount was taken away: it is back")
        assert device_of(web) == device
        assert web.task("--service", "web").cat("steady") == STEADY
    reports = [report_of(reader) for reader in readers]
    assert [(report["errors"], report["wrong"]) for report in reports] == [([], 0)] * READERS
    assert web.end() == 0
    assert str(web.mountpoint) not in Path("/proc/self/mountinfo").read_text()


# -- where mounts can be ----------------------------------------------------------------------------------------------

COPIES = {
    "a copy of the namespace": ("unshare", "-m"),
    "a copy that shares its mounts": ("unshare", "-m", "--propagation", "shared"),
    "a user namespace, where the mount is locked": ("unshare", "-Urm"),
    "a user namespace in a user namespace": ("unshare", "-Urm", "unshare", "-Um"),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_process_with_a_mount_namespace_of_its_own_reads_again(web, copy):
    task = web.task("--service", "web", "--until", "leader", "--", *copy)
    for lost in (killed, stopped, killed):
        lost(web)
        assert task.cat("steady") in DEAD
        web.start()
        web.wait_for("repaired", failed=0)
        assert task.cat("steady") == STEADY
        assert len(mounts_in(task)) <= 2, "they do not pile up"


def test_binds_of_a_tree_and_of_a_file_and_a_target_of_its_own_are_repaired(web, tmp_path):
    for place in ("target a", "tree"):
        (tmp_path / place).mkdir()
    (tmp_path / "file").touch()
    target, tree, file = (str(tmp_path / name) for name in ("target a", "tree", "file"))
    script = f'mount --bind "{target}" {tree} && mount --bind "{target}/steady" {file} && shift && exec "$@"'
    task = web.task("--service", "web", "--target-dir", target, "--", "sh", "-c", script, "sh")
    web.kill()
    web.start()
    web.wait_for("repaired", mounts=4, failed=0)  # its secrets, its configs, and the two
    found = [task.do("cat", path) for path in (f"{target}/steady", f"{tree}/steady", file)]
    assert found == [STEADY.hex()] * 3


def test_a_task_in_a_chroot_reads_again(web, tmp_path):
    root = tmp_path / "root"
    (root / "run" / "secrets").mkdir(parents=True)
    task = web.task("--service", "web", "--target-dir", str(root / "run" / "secrets"))
    task.do("chroot", str(root))
    web.kill()
    web.start()
    web.wait_for("repaired")
    assert task.cat("steady") == STEADY


def test_what_somebody_has_mounted_on_top_stays_on_top_and_what_is_below_is_left_alone(web, tmp_path):
    script = 'mount -t tmpfs none /run/secrets && echo mine > /run/secrets/steady && shift && exec "$@"'
    task = web.task("--service", "web", "--", "sh", "-c", script, "sh")
    web.kill()
    web.start()
    web.wait_for("repaired", mounts=0, failed=1)
    assert task.cat("steady") == b"mine\n"


def test_the_tasks_of_a_daemon_that_lives_are_not_taken_by_one_with_a_copy_of_its_store(web, tmp_path):
    task = web.task("--service", "web")
    copy = Daemon(tmp_path / "copy")
    copy.root.mkdir()
    shutil.copytree(web.state, copy.state)
    shutil.copy(web.key, copy.key)
    before = mounts_in(task)
    try:
        copy.start()
        copy.cli("service", "ls")
        assert task.cat("steady") == STEADY
        assert mounts_in(task) == before
    finally:
        copy.clean_up()


def test_a_task_of_which_only_a_child_is_left_is_one_after_a_start_too(web, tmp_path):
    """Whether the leader lives is no question while its tree is dead: the child has it mounted."""
    os.mkfifo(tmp_path / "end")
    task = web.task("--service", "web")
    task.do("fork", str(tmp_path / "end"))
    task.stop()
    for lost in (killed, stopped):
        lost(web)
        web.start()
        web.wait_for("repaired", mounts=2, failed=0)
        assert len(web.api("GET", "/secretfs/v1/tasks")) == 1
    (tmp_path / "end").write_text("")
    while web.api("GET", "/secretfs/v1/tasks"):
        continue


def test_another_daemon_and_its_tasks_are_not_touched(web, tmp_path):
    other = Daemon(tmp_path / "other")
    other.root.mkdir()
    try:
        other.start()
        other.secret("steady", b"the other's")
        theirs, ours = other.task("--secret", "steady"), web.task("--service", "web")
        before = mounts_in(theirs)
        web.kill()
        web.start()
        web.wait_for("repaired", mounts=2, failed=0)
        assert (theirs.cat("steady"), ours.cat("steady")) == (b"the other's", STEADY)
        assert mounts_in(theirs) == before
        other.kill()
        web.kill()
        web.start()
        web.wait_for("repaired", mounts=2, failed=0)
        assert theirs.cat("steady") in DEAD
    finally:
        other.clean_up()
