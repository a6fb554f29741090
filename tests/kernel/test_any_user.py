"""Ordinary users: what they may, and what they are refused. Uid 4242 is allowed service web; 4243 service other."""

import ctypes
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytest
from daemons import Daemon, report_of
from users import User

from secretfs.linux.libc import LIBC

pytestmark = pytest.mark.kernel

UID, OTHER, GROUP = 4242, 4243, 4299
VALUE, OTHERS = b"for 4242 alone", b"for 4243 alone"
NOBODY = 65534
DEAD = ("ENOTCONN", "ECONNABORTED", "EACCES", "ENOENT")
READERS = 8
ROUNDS = [2, pytest.param(20, marks=pytest.mark.long)]
REPAIR_SECONDS = 2.0  # on a machine that has nothing else to do: about 1; the fastest of some rounds shows it


@pytest.fixture(scope="module")
def host():
    """A daemon in a directory that every user reaches, with a service for each of two users."""
    root = Path(tempfile.mkdtemp(prefix="secretfs-users-"))
    root.chmod(0o755)
    Path("/run/secrets").mkdir(exist_ok=True)  # root makes it, as tmpfiles.d would
    daemon = Daemon(root)
    try:
        yield granted(daemon.start())
    finally:
        daemon.clean_up()
        shutil.rmtree(root)


def granted(daemon: Daemon) -> Daemon:
    daemon.secret("mine", VALUE)
    daemon.secret("others", OTHERS)
    mine = ["--secret", f"source=mine,target=db,uid={UID},gid={UID},mode=0400"]
    daemon.cli("service", "create", "--allow-uid", str(UID), *mine, "web")
    others = ["--secret", f"source=others,target=db,uid={OTHER},gid={OTHER},mode=0444"]
    daemon.cli("service", "create", "--allow-uid", str(OTHER), *others, "other")
    grouped = ["--secret", f"source=mine,target=db,gid={GROUP},mode=0440", "--secret", "others"]
    daemon.cli("service", "create", "--allow-gid", str(GROUP), *grouped, "grouped")
    return daemon


@pytest.fixture
def user(host):
    yield User(host, UID)
    until_no_task_is_left(host)


@pytest.fixture
def other(host):
    return User(host, OTHER)


def tasks_of(daemon, service: str | None = None) -> list[str]:
    return [task["ID"] for task in daemon.api("GET", "/secretfs/v1/tasks") if service in (None, task["Service"])]


def until_no_task_is_left(daemon) -> None:
    for task in daemon._tasks:
        task.kill()
    deadline = time.monotonic() + 30
    while tasks_of(daemon):
        assert time.monotonic() < deadline


def no_leave(uid: int, service: str) -> list[str]:
    return [
        (
            f"secretfs: error: uid {uid} may not run tasks of service {service}: root lets it with "
            f"'secretfs service update --allow-uid {uid} {service}'"
        )
    ]


# -- what a user may --------------------------------------------------------------------------------------------------


def test_a_user_reads_a_secret_that_is_his_alone(user):
    task = user.task("--service", "web")
    assert task.cat("db") == VALUE
    assert task.do("stat", "/run/secrets/db")[:3] == [UID, UID, "400"]
    assert (task.do("getuid"), task.do("geteuid"), task.do("getgid")) == (UID, UID, UID)


def test_his_program_has_no_capability_and_gets_none(user):
    status = Path(f"/proc/{user.task('--service', 'web').pid}/status").read_text()
    for name, value in (("CapPrm", "0" * 16), ("CapEff", "0" * 16), ("NoNewPrivs", "1"), ("Uid", f"{UID}")):
        assert f"{name}:\t{value}" in status


def test_a_member_of_an_allowed_group_reads_what_is_the_group_s(host, user):
    member = User(host, 4244, 7, GROUP)
    task = member.task("--service", "grouped")
    assert task.cat("db") == VALUE
    assert task.do("stat", "/run/secrets/db")[:3] == [NOBODY, NOBODY, "440"], "ids that are not mapped"


def test_files_that_he_cannot_read_are_named_in_a_warning(host, user):
    host.cli("service", "update", "--allow-uid", str(UID), "grouped")
    done = user.secretfs("run", "--service", "grouped", "--", "cat", "/run/secrets/others")
    assert (done.returncode, done.stdout.encode()) == (0, OTHERS)
    assert done.stderr.splitlines() == [
        f"secretfs: warning: uid {UID} cannot read /run/secrets/db",
        f"secretfs: hint: grant it with uid={UID}, with the gid of one of your groups and mode=0440, or with mode=0444",
    ]


def test_secrets_appear_in_any_directory_of_his(user):
    place = tempfile.mkdtemp(prefix="secretfs-users-")
    os.chown(place, UID, UID)
    try:
        done = user.secretfs(
            *("run", "--service", "web", "--target-dir", f"{place}/a/b", "--", "cat", f"{place}/a/b/db")
        )
        assert (done.returncode, done.stdout.encode(), done.stderr) == (0, VALUE, "")
        assert os.listdir(f"{place}/a/b") == []
    finally:
        shutil.rmtree(place)


def test_a_directory_that_root_has_to_make_is_refused_with_what_root_does(user):
    assert user.refusal("--service", "web", "--target-dir", "/run/no/secrets") == [
        "secretfs: error: cannot make the target directory /run/no/secrets: Permission denied",
        (
            "secretfs: hint: let root make it once: echo 'd /run/no/secrets 0755' >/etc/tmpfiles.d/secretfs.conf && "
            "systemd-tmpfiles --create"
        ),
        "secretfs: hint: choose another directory with --target-dir",
    ]


def test_who_kills_his_task_flushes_it(host, user):
    task = user.task("--service", "web")
    tree = Path(f"/proc/{task.pid}/root/run/secrets")
    held = os.open(tree, os.O_RDONLY)
    try:
        assert os.listdir(held) == ["db"]
        task.kill()
        until_no_task_is_left(host)
        with pytest.raises(OSError, match=r"No such file|Permission|Stale"):
            os.open("db", os.O_RDONLY, dir_fd=held)
    finally:
        os.close(held)
    assert VALUE not in host.arena()


# -- what he is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["other", "none", "o"])
def test_another_service_is_refused_and_one_that_there_is_not_in_the_same_words(user, service):
    assert user.refusal("--service", service) == no_leave(UID, service)


def test_adhoc_grants_are_refused(user):
    text = f"uid {UID} may not grant itself secrets: name a service that root allows it, or run this as root"
    assert user.refusal("--secret", "mine") == [f"secretfs: error: {text}"]
    assert user.refusal("--service", "web", "--secret", "mine") == [f"secretfs: error: {text}"]


def test_what_was_taken_back_is_refused_and_what_runs_goes_on(host, user):
    task = user.task("--service", "web")
    host.cli("service", "update", "--allow-uid-rm", str(UID), "web")
    try:
        assert user.refusal("--service", "web") == no_leave(UID, "web")
        assert task.cat("db") == VALUE
    finally:
        host.cli("service", "update", "--allow-uid", str(UID), "web")


def test_another_user_s_program_is_refused(user):
    assert user.refusal("--service", "web", "--user", "root") == [
        f"secretfs: error: uid {UID} cannot become uid 0, gid 0: only root may",
        "secretfs: hint: leave out --user, or run it as root",
    ]


def test_refusals_are_in_the_audit(host, user):
    user.refusal("--service", "other")
    record = host.api("GET", "/secretfs/v1/audit")[-1]
    assert (record["Action"], record["Name"], record["UID"]) == ("task refused", "other", UID)
    assert record["Detail"]["Reason"].startswith(f"uid {UID} may not run tasks of service other")


def test_another_user_s_tree_is_reached_neither_by_path_nor_through_proc(host, user, other):
    theirs, ours = other.task("--service", "other"), user.task("--service", "web")
    assert theirs.cat("db") == OTHERS
    [task] = tasks_of(host, "other")
    for path in (f"{host.mountpoint}/{task}/secrets/db", f"/proc/{theirs.pid}/root/run/secrets/db"):
        assert Path(path).read_bytes() == OTHERS, "root does"
        assert ours.do("cat", path) == "EACCES"
    assert ours.do("listdir", str(host.mountpoint)) == "EACCES"
    assert ours.do("listdir", f"/proc/{theirs.pid}/root") == "EACCES"
    assert task.encode().hex() in ours.do("cat", f"/proc/{theirs.pid}/mountinfo"), "its id is known, and of no use"


def test_another_user_s_tree_is_not_opened_by_its_file_handle(host, user, other):
    other.task("--service", "other")
    [task] = tasks_of(host, "other")
    kind, raw = handle_of(f"{host.mountpoint}/{task}/secrets")
    assert opened_by_handle(host.mountpoint, kind, raw) == ["db"], "root opens it"
    with user.trick("handle", "web", host.mountpoint, kind, raw) as trick:
        before, inside, paths = trick.said()
    no_leave_to_ask, no_descriptor = "Operation not permitted", "Bad file descriptor"
    assert before == [no_leave_to_ask, no_leave_to_ask, no_descriptor, no_descriptor]
    assert inside == [no_leave_to_ask, "Stale file handle", no_descriptor, no_descriptor]
    assert paths == ["Permission denied"] * 2


class FileHandle(ctypes.Structure):
    """struct file_handle, see open_by_handle_at(2)."""

    _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("content", ctypes.c_ubyte * 128))


def handle_of(path: str) -> tuple[int, str]:
    found, mount_id = FileHandle(size=128), ctypes.c_int()
    assert LIBC.name_to_handle_at(-100, path.encode(), ctypes.byref(found), ctypes.byref(mount_id), 0) == 0
    return found.kind, bytes(found.content[: found.size]).hex()


def opened_by_handle(mountpoint: Path, kind: int, raw: str) -> list[str]:
    content = bytes.fromhex(raw)
    wanted = FileHandle(len(content), kind, (ctypes.c_ubyte * 128)(*content))
    place = os.open(mountpoint, os.O_RDONLY)
    fd = LIBC.open_by_handle_at(place, ctypes.byref(wanted), os.O_RDONLY)
    os.close(place)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def test_another_user_s_task_is_not_detached(host, user, other):
    theirs = other.task("--service", "other")
    [task] = tasks_of(host, "other")
    done = user.secretfs("detach", task)
    assert done.returncode == 1
    assert "permission" in done.stderr.lower()
    ours = user.task("--service", "web")
    assert ours.do("kill", theirs.pid, signal.SIGKILL) == "EPERM"
    assert theirs.cat("db") == OTHERS


def test_a_tree_that_somebody_keeps_or_passes_on_is_empty_when_the_task_has_ended(host, user):
    with user.trick("keep", "web", "db") as trick:
        pid = trick.said()
        assert trick.told() == VALUE.decode(), "his own process, to whom he has given it, reads it"
        os.kill(pid, signal.SIGKILL)
        until_no_task_is_left(host)
        assert trick.told() in ("No such file or directory", "Stale file handle", "Permission denied")
    assert VALUE not in host.arena()


# -- how many ---------------------------------------------------------------------------------------------------------


def test_the_129th_task_is_refused_also_by_a_control_that_has_just_started(host, user, other):
    text = f"uid {UID} has 128 running tasks, which is the most: end one of them first"
    with user.trick("crowd", "web", 128) as crowd:
        assert crowd.said() == text
        assert len(tasks_of(host, "web")) == 128
        assert user.refusal("--service", "web") == [f"secretfs: error: {text}"]
        host.kill("control")
        assert crowd.told() == text
        assert other.task("--service", "other").cat("db") == OTHERS
        assert host.task("--service", "web").cat("db") == VALUE, "root has no limit"
        deadline = time.monotonic() + 30
        while crowd.told("end") != "started":
            assert time.monotonic() < deadline


def test_a_user_who_floods_the_socket_stops_nobody(host, user, other, capsys):
    with user.trick("flood", 200) as flood:
        assert flood.said() == "flooding"
        times = []
        for someone in (host, other, host, other):
            at = time.monotonic()
            service = "web" if someone is host else "other"
            assert someone.task("--service", service).cat("db") in (VALUE, OTHERS)
            times.append(time.monotonic() - at)
        connections = flood.told()
    with capsys.disabled():
        shown = ", ".join(f"{each:.2f}" for each in times)
        sys.stdout.write(f" {connections} connections meanwhile; tasks started in {shown} s ")
    assert user.task("--service", "web").cat("db") == VALUE
    refused = [each for each in host.api("GET", "/secretfs/v1/audit") if each["Action"] == "task refused"]
    assert len([each for each in refused if each["UID"] == UID]) < 60, "few of thousands are in the audit"


# -- root of somewhere else, and a daemon that dies -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["--mount", "--pid", "--user"])
def test_root_of_another_namespace_is_refused(host, kind):
    before = ("unshare", kind, "--fork", *(["--map-root-user"] if kind == "--user" else []))
    root = User(host, 0)
    root.becoming = before
    [error] = root.refusal("--service", "web")
    assert error.startswith("secretfs: error: root of another user, pid or mount namespace may not attach tasks: ")


def test_root_of_his_own_user_namespace_is_the_user(user):
    with user.trick("root", "other") as trick:
        assert trick.said() == no_leave(UID, "other")[0].removeprefix("secretfs: error: ")


@pytest.mark.parametrize("rounds", ROUNDS)
def test_his_tasks_read_again_after_everything_was_killed(host, user, capsys, rounds):
    seconds = []
    for _ in range(rounds):
        task = user.task("--service", "web")
        readers = host.readers(READERS, "web", {"db": [VALUE]}, before=user.becoming)
        while host.standby() is None:  # one that is not known yet would serve on
            continue
        host.kill()
        assert task.cat("db") in DEAD
        host.start()
        host.wait_for("repaired", failed=0)
        assert task.cat("db") == VALUE
        reports = [report_of(reader) for reader in readers]
        assert [report["wrong"] for report in reports] == [0] * READERS
        seconds.append(max(report["gap"] for report in reports))
        task.stop()
    with capsys.disabled():
        sys.stdout.write(f" longest without a read: median {statistics.median(seconds):.2f}, {max(seconds):.2f} s ")
    assert min(seconds) < REPAIR_SECONDS
