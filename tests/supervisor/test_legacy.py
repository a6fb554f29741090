"""What a new supervisor finds of the last one: an fs that gives, one that does not, or none."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from secretfs.errors import SetupError
from secretfs.link import codec
from secretfs.link.layout import ArenaLayout
from secretfs.linux.mountinfo import Mount
from secretfs.linux.process import alive
from secretfs.supervisor import handover
from secretfs.supervisor.handover import legacy

FS = """
import ctypes, os, signal, socket, sys, threading
sys.path[:0] = [sys.argv[4]]
from secretfs.link import codec, pulse, serving
listener = socket.socket(fileno=int(sys.argv[1]))
listener.setblocking(True)
manner, arena = sys.argv[2], int(sys.argv[3])
if manner == "leaves a thread behind":
    os.setresuid(65534, 65534, 65534)
    listener.listen(8)
    print("listens", flush=True)
    threading.Thread(target=signal.sigwait, args=[[signal.SIGUSR1]]).start()
    ctypes.CDLL(None).syscall(60, 0)
listener.listen(8)
print("listens", flush=True)
connection, _ = listener.accept()
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
fds = [theirs.fileno(), arena, arena, listener.fileno(), listener.fileno(), listener.fileno()]
good = codec.encode(serving.Handover(1 << 20, 4096, "0:44 00ff"))
match manner:
    case "gives": socket.send_fds(connection, [good], fds)
    case "gives too little": socket.send_fds(connection, [good], fds[:5])
    case "gives garbage": socket.send_fds(connection, [b"garbage"], fds)
    case "gives another size": socket.send_fds(connection, [codec.encode(serving.Handover(2 << 20, 1, "0:44 00"))], fds)
    case "gives no INIT": socket.send_fds(connection, [codec.encode(serving.Handover(1 << 20, 1, "0:44 xyz"))], fds)
    case "says something else": socket.send_fds(connection, [codec.encode(pulse.Ready())], fds)
    case "ends": sys.exit()
if manner == "gives":
    theirs.close()
    ours.send(b"word of fs")
signal.pause()
"""
IN_PLACE = Mount(5, 1, "0:44", "/", "/mnt", "fuse.secretfs", "secretfs")


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """A runtime directory, and no mount anywhere."""
    monkeypatch.setattr(handover, "HANDOVER_SECONDS", 0.5)
    monkeypatch.setattr(handover.mountinfo, "mount_at", lambda _: None)
    monkeypatch.setattr(handover.mountinfo, "mounts", list)
    return tmp_path


@pytest.fixture
def fs(runtime):
    """Start a process in the place of fs, whose supervisor is gone."""
    started = []

    def start(manner: str) -> subprocess.Popen:
        arena = os.open(runtime / "arena", os.O_RDWR | os.O_CREAT)
        os.truncate(arena, ArenaLayout(1 << 20).total)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(runtime / "handover.sock"))
            root = os.path.dirname(os.path.dirname(os.path.dirname(codec.__file__)))
            process = subprocess.Popen(
                [sys.executable, "-c", FS, str(listener.fileno()), manner, str(arena), root],
                pass_fds=[listener.fileno(), arena],
                stdout=subprocess.PIPE,
            )
        os.close(arena)
        started.append(process)
        assert process.stdout.readline() == b"listens\n"
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def found(runtime):
    return legacy(str(runtime), "/mnt")


def test_where_there_was_no_daemon_there_is_nothing(runtime):
    assert found(runtime) is None


def test_a_socket_that_nobody_holds_is_nothing(runtime):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(runtime / "handover.sock"))
    assert found(runtime) is None


def test_a_socket_that_only_we_hold_is_nothing(runtime):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ours:
        ours.bind(str(runtime / "handover.sock"))
        ours.listen()
        assert found(runtime) is None


def test_fs_is_found_with_all_that_it_kept(runtime, fs, monkeypatch):
    process = fs("gives")
    monkeypatch.setattr(handover.mountinfo, "mount_at", lambda _: IN_PLACE)
    given = found(runtime)
    assert (given.arena_bytes, given.usable, given.device, given.init) == (1 << 20, 4096, "0:44", b"\x00\xff")
    assert os.fstat(given.arena_fd).st_size == ArenaLayout(1 << 20).total
    given.end.setblocking(True)
    assert given.end.recv(100) == b"word of fs"
    assert process.poll() is None
    signal.pidfd_send_signal(given.pidfd, signal.SIGKILL)
    assert process.wait(5) == -signal.SIGKILL
    for end in (given.end, given.sockets.api, given.sockets.attach, given.sockets.handover):
        end.close()
    for fd in (given.pidfd, given.fuse_fd, given.arena_fd):
        os.close(fd)


NOTHING_OF_USE = ["gives too little", "gives garbage", "gives another size", "gives no INIT", "says something else", ""]


@pytest.mark.parametrize("manner", NOTHING_OF_USE)
def test_an_fs_that_gives_nothing_of_use_is_ended_and_nothing_stays_open(runtime, fs, manner):
    process = fs(manner)
    before = set(os.listdir("/proc/self/fd"))
    assert found(runtime) is None
    assert process.wait(5) == -signal.SIGKILL
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_fs_that_ends_meanwhile_is_nothing(runtime, fs):
    process = fs("ends")
    assert found(runtime) is None
    assert process.wait(5) in (0, -signal.SIGKILL)


def test_a_stopped_fs_is_ended(runtime, fs):
    process = fs("gives")
    process.send_signal(signal.SIGSTOP)
    assert found(runtime) is None
    assert process.wait(5) == -signal.SIGKILL


def test_an_fs_of_which_only_a_thread_is_left_is_nothing(runtime, fs, monkeypatch):
    """It waits for an answer that only the next fs, or the end of the connection, can give."""
    monkeypatch.setattr(handover, "_STANDBY_SECONDS", 0.1)
    monkeypatch.setattr(handover, "HANDOVER_SECONDS", 60)
    process = fs("leaves a thread behind")
    while alive(process.pid):
        os.sched_yield()
    before = set(os.listdir("/proc/self/fd"))
    assert found(runtime) is None
    assert set(os.listdir("/proc/self/fd")) == before
    assert not handover.fs_lives(str(runtime), 0)
    assert handover.fs_lives(str(runtime), process.pid), "this one would be starting"


def test_a_living_fs_is_told_from_none(runtime, fs):
    assert not handover.fs_lives(str(runtime), 0)
    fs("ends")
    assert handover.fs_lives(str(runtime), 0)


def test_an_fs_whose_mount_is_gone_is_ended(runtime, fs):
    process = fs("gives")
    before = set(os.listdir("/proc/self/fd"))
    assert found(runtime) is None
    assert process.wait(5) == -signal.SIGKILL
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_fs_whose_mount_is_elsewhere_is_named_and_lives_on(runtime, fs, monkeypatch):
    process = fs("gives")
    elsewhere = Mount(5, 1, "0:44", "/", "/elsewhere", "fuse.secretfs", "secretfs")
    monkeypatch.setattr(handover.mountinfo, "mounts", lambda: [elsewhere])
    with pytest.raises(SetupError) as refusal:
        found(runtime)
    assert str(refusal.value) == (
        f"fs (pid {process.pid}) of the last daemon serves '/elsewhere': start with --mountpoint /elsewhere, "
        "or end it first"
    )
    assert process.poll() is None
