"""What is found on the machine: refused with words that help, before anything is changed; or made."""

import fcntl
import os
import re
import socket
import stat
import subprocess
import sys
import threading

import pytest

from secretfs.errors import SetupError
from secretfs.linux.process import alive
from secretfs.supervisor import setup
from secretfs.supervisor.setup import Ids

NOBODY = 65534


def refusal(act, *arguments, **named) -> str:
    with pytest.raises(SetupError) as caught:
        act(*arguments, **named)
    return str(caught.value)


def made(path, owners=(0,), mode=0o700):
    setup.made_directory(str(path), "the state directory", mode=mode, owners=owners)


# -- directories -----------------------------------------------------------------------------------------------------


def test_a_directory_that_is_missing_is_made_with_its_parents(tmp_path):
    made(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    made(tmp_path / "a" / "b")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_can_write_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    assert refusal(made, tmp_path) == (
        f"the state directory {str(tmp_path)!r} can be written by others (mode {mode:04o}): run chmod go-w {tmp_path}"
    )
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode, "nothing was changed"


def test_a_directory_of_somebody_else_is_refused(tmp_path):
    os.chown(tmp_path, NOBODY, 0)
    assert refusal(made, tmp_path) == (
        f"the state directory {str(tmp_path)!r} belongs to uid {NOBODY}: run chown root {tmp_path}"
    )
    made(tmp_path, owners=(0, NOBODY))


def test_a_file_where_a_directory_is_due_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert refusal(made, tmp_path / "file").startswith(f"the state directory {str(tmp_path / 'file')!r} cannot be used")
    assert refusal(made, tmp_path / "file" / "below").endswith("cannot be used: Not a directory")


def test_a_link_to_nowhere_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at" / "all")
    assert "cannot be used" in refusal(made, tmp_path / "link")


def test_the_state_is_given_to_control_and_what_a_link_points_at_is_not(tmp_path):
    outside = tmp_path / "outside"
    outside.touch()
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    (state / "secretfs.db").touch()
    (state / "link").symlink_to(outside)
    setup.give_state(str(state), Ids(NOBODY, NOBODY))
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert [path.lstat().st_uid for path in (state, state / "secretfs.db", state / "link")] == [NOBODY] * 3
    assert outside.stat().st_uid == 0


# -- locks -----------------------------------------------------------------------------------------------------------


def test_a_second_daemon_is_refused_and_the_first_one_named(tmp_path):
    first = setup.locked(str(tmp_path))
    assert refusal(setup.locked, str(tmp_path)) == (
        f"another secretfs daemon (pid {os.getpid()}) uses {str(tmp_path)!r}: stop it, or choose other directories "
        "with --state-dir and --runtime-dir; --takeover replaces it"
    )
    os.close(first)
    os.close(setup.locked(str(tmp_path)))


@pytest.mark.parametrize(("content", "shown"), [(b"", "unknown"), (b"\xff\n", "\ufffd")])
def test_a_lock_whose_holder_is_not_known_is_one(tmp_path, content, shown):
    (tmp_path / "daemon.lock").write_bytes(content)
    with open(tmp_path / "daemon.lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"(pid {shown})" in refusal(setup.locked, str(tmp_path))


def test_a_holder_that_is_dead_and_whose_child_has_the_lock_for_a_moment_is_waited_for(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "daemon.lock").write_text(f"{dead.pid}\n")
    held = os.open(tmp_path / "daemon.lock", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    let_go = threading.Timer(0.1, os.close, [held])
    let_go.start()
    os.close(setup.locked(str(tmp_path)))
    let_go.join()


def test_a_pid_that_a_longer_one_left_is_overwritten(tmp_path):
    (tmp_path / "daemon.lock").write_text("12345678901234567890\n")
    fd = setup.locked(str(tmp_path))
    assert (tmp_path / "daemon.lock").read_text() == f"{os.getpid()}\n"
    assert not os.get_inheritable(fd)
    os.close(fd)


UNENDING = """
import ctypes, fcntl, os, sys, threading
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
os.write(fd, str(os.getpid()).encode())
print("locked", flush=True)
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).syscall(60, 0)
"""


def test_a_dead_holder_of_which_a_thread_is_left_is_told_until_it_lets_go(tmp_path):
    command = [sys.executable, "-c", UNENDING, str(tmp_path / "daemon.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        while alive(holder.pid):
            os.sched_yield()
        seen = []

        def stuck(pid, fd):
            seen.append((pid, setup.holds(pid, fd), setup.holds(os.getpid(), fd)))
            if len(seen) == 3:
                holder.stdin.close()

        os.close(setup.locked(str(tmp_path), stuck))
        assert seen[:3] == [(holder.pid, True, False)] * 3


def test_a_lock_that_is_a_link_is_refused_and_what_it_points_at_left_alone(tmp_path):
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "daemon.lock").symlink_to(tmp_path / "outside")
    assert "cannot be locked" in refusal(setup.locked, str(tmp_path))
    assert (tmp_path / "outside").read_text() == "kept"


def test_a_lock_that_is_a_directory_is_refused(tmp_path):
    (tmp_path / "daemon.lock").mkdir()
    assert refusal(setup.locked, str(tmp_path)) == f"{str(tmp_path)!r} cannot be locked: Is a directory"


# -- sockets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_listener_has_its_mode_and_group_and_does_not_block(tmp_path, kind):
    path = tmp_path / "api.sock"
    before = os.umask(0o022)
    os.umask(before)
    with setup.listener(str(path), kind, mode=0o660, gid=NOBODY) as end, socket.socket(socket.AF_UNIX, kind) as client:
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o660, 0, NOBODY)
        client.connect(str(path))
        end.accept()[0].close()
        with pytest.raises(BlockingIOError):
            end.accept()
    assert os.umask(before) == before


def test_a_socket_left_by_a_dead_daemon_is_replaced(tmp_path):
    path = str(tmp_path / "api.sock")
    setup.listener(path, socket.SOCK_STREAM, mode=0o600).close()
    setup.listener(path, socket.SOCK_STREAM, mode=0o600).close()


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path):
    path = str(tmp_path / ("x" * 150))
    assert re.fullmatch(r"socket '.*' cannot be made: AF_UNIX path too long", refusal(setup.listener, path, socket.SOCK_STREAM, mode=0o600))  # fmt: skip # noqa: E501


@pytest.mark.parametrize("place", ["directory", "missing/api.sock"])
def test_a_socket_that_cannot_be_made_is_refused(tmp_path, place):
    (tmp_path / "directory").mkdir()
    path = str(tmp_path / place)
    assert refusal(setup.listener, path, socket.SOCK_STREAM, mode=0o600).startswith(f"socket {path!r} cannot be made: ")


def test_the_sockets_are_made_adopted_and_unlinked(tmp_path):
    made = setup.Sockets.made(str(tmp_path))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"api.sock": 0o660, "attach.sock": 0o666, "handover.sock": 0o600}
    (tmp_path / "attach.sock").chmod(0o600)
    adopted = setup.Sockets.adopted(*map(os.dup, made.fds))
    assert stat.S_IMODE((tmp_path / "attach.sock").stat().st_mode) == 0o666, "an older daemon's was root's alone"
    assert adopted.api.type == socket.SOCK_STREAM
    assert adopted.handover.getsockname() == str(tmp_path / "handover.sock")
    adopted.unlink()
    made.unlink()
    assert not list(tmp_path.iterdir())
    for end in (made.api, made.attach, made.handover, adopted.api, adopted.attach, adopted.handover):
        end.close()


@pytest.mark.parametrize(("gid", "mode"), [(0, 0o700), (4300, 0o710)])
def test_the_services_directory_is_control_s_and_closed_to_all_but_who_may_use_the_api(tmp_path, gid, mode):
    for _ in range(2):
        fd = setup.services_directory(str(tmp_path), 4301, gid)
        found = os.fstat(fd)
        os.close(fd)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4301, gid, mode)
        (tmp_path / "services").chmod(0o777)


def test_a_services_directory_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "services").symlink_to("/etc")
    with pytest.raises(OSError, match="services"):
        setup.services_directory(str(tmp_path), 4301, 0)


# -- who ------------------------------------------------------------------------------------------------------------


def test_only_root_may(monkeypatch):
    setup.check_root()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert refusal(setup.check_root) == "secretfs daemon must be run as root, not as uid 1000: use sudo"


def test_uids_are_fixed_unless_there_are_users_of_these_names(monkeypatch):
    class Users:
        def getpwnam(self, name):
            if name == "secretfs-fs":
                raise KeyError(name)
            return type("User", (), {"pw_uid": 991, "pw_gid": 992})

        def getgrnam(self, name):
            raise KeyError(name)

    monkeypatch.setattr(setup, "pwd", Users())
    monkeypatch.setattr(setup, "grp", Users())
    assert setup.fs_ids() == Ids(75301, 75301)
    assert setup.control_ids() == Ids(991, 992)
    assert setup.api_gid() == 0


def test_fs_is_never_nobody_and_not_control():
    assert setup.fs_ids().uid not in (0, NOBODY, setup.control_ids().uid)
