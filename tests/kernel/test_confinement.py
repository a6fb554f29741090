"""What fs and control may do when they are broken into: little, and fs next to nothing."""

import ctypes
import errno
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from daemons import READY_SECONDS

pytestmark = pytest.mark.kernel

SCRIPTED = str(Path(__file__).with_name("scripted_supervisor.py"))
PRYING = str(Path(__file__).with_name("prying.py"))
NO_CAPABILITIES = {f"Cap{name}": "0" * 16 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
PTRACE_SEIZE = 0x4206  # sys/ptrace.h
CHILDREN = ["fs", "control"]


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def uid_of(pid: int) -> int:
    return int(status_of(pid)["Uid"].split()[0])


@pytest.mark.parametrize("name", CHILDREN)
def test_no_capability_no_way_to_get_one_and_no_group_of_anybody_else(shared_daemon, name):
    status = status_of(shared_daemon.children()[name])
    assert NO_CAPABILITIES.items() <= status.items()
    assert status["NoNewPrivs"] == "1"
    uids, gids = status["Uid"].split(), status["Gid"].split()
    assert len(set(uids)) == len(set(gids)) == 1
    assert "0" not in (*uids, *gids)
    assert set(status["Groups"].split()) <= set(gids)


def test_only_the_supervisor_is_root_and_no_two_are_the_same_user(shared_daemon):
    deadline = time.monotonic() + READY_SECONDS
    while [pid for pid in shared_daemon.processes() if uid_of(pid) == 0] != [shared_daemon.pid]:
        assert time.monotonic() < deadline, "one that starts is root until it has locked itself in"
    assert uid_of(shared_daemon.fs_pid()) != uid_of(shared_daemon.children()["control"])


def test_nobody_dumps_core(shared_daemon):
    for pid in shared_daemon.processes():
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"(?m)^Max core file size +0 +0 ", limits)


@pytest.mark.parametrize("name", CHILDREN)
def test_another_process_of_the_same_user_cannot_look_inside(shared_daemon, name):
    pid = shared_daemon.children()[name]
    uid = uid_of(pid)
    assert seen_by(uid, lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))) == "EACCES"
    assert seen_by(uid, lambda: os.listdir(f"/proc/{pid}/fd")) == "EACCES"
    assert seen_by(uid, lambda: ptraced(pid)) == "EPERM"
    assert seen_by(0, lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))) == "done", "root looks at all"


def test_fs_has_no_file_no_directory_and_no_network_socket_open(shared_daemon):
    shared_daemon.secret("db", b"This is a secret")
    task = shared_daemon.task("--secret", "db")
    task.do("open", "/run/secrets/db")
    kinds = {kind_of(fd) for fd in Path(f"/proc/{shared_daemon.fs_pid()}/fd").iterdir()}
    memory = {"memory secretfs-arena", "memory secretfs-mailbox", "memory secretfs-opens"}
    assert kinds == {*memory, "fuse", "unix socket", "epoll", "eventfd", "pipe", "nothing"}
    task.stop()


def test_fs_is_filtered_in_every_thread(shared_daemon):
    assert shared_daemon.task("--config", shared_daemon.out("config", "create", "c", "-", input=b"c")).stop() == 0
    while shared_daemon.api("GET", "/secretfs/v1/tasks"):
        continue
    threads = list(Path(f"/proc/{shared_daemon.fs_pid()}/task").iterdir())
    assert len(threads) > 1
    for thread in threads:
        assert "\nSeccomp:\t2\n" in (thread / "status").read_text()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGHUP], ids=["killed", "upgraded"])
def test_whoever_takes_the_place_of_fs_is_filtered_too(daemon, sign):
    before = daemon.fs_pid()
    os.kill(before if sign == signal.SIGKILL else daemon.pid, sign)
    daemon.wait_for("child ready", module="secretfs.fs")
    while daemon.fs_pid() == before:  # the one that is adopted first says so too
        daemon.wait_for("child ready", module="secretfs.fs")
    assert status_of(daemon.fs_pid())["Seccomp"] == "2"


def tried(daemon, module: str) -> dict[str, str]:
    """What the process says that it could do."""
    daemon.spawn(command=(sys.executable, SCRIPTED, json.dumps({module: PRYING}), ""))
    line = daemon.wait_for("tried")
    return {name: line[name] for name in line.keys() - {"time", "level", "process", "event"}}


def test_fs_can_open_connect_execute_and_become_nothing(idle_daemon):
    found = tried(idle_daemon, "secretfs.fs")
    assert found.pop("thread") == found.pop("memory") == found.pop("time of day") == "done"
    assert set(found.values()) == {"EPERM"}, found
    assert {"open", "list", "make", "unix socket", "internet socket", "execute", "fork", "trace"} < found.keys()
    idle_daemon.wait_for("ready")
    assert idle_daemon.secret("db", b"This is a secret")
    assert idle_daemon.task("--secret", "db").cat("db") == b"This is a secret"


def test_control_can_write_to_the_state_directory_and_become_nothing(idle_daemon):
    found = tried(idle_daemon, "secretfs.control")
    may = {name for name, result in found.items() if result == "done"}
    assert may == {"thread", "memory", "time of day", "unix socket", "state", "users", "watch"}, found
    closed = {"open", "list", "make", "device"}
    assert {name for name, result in found.items() if result == "EACCES"} == closed, found
    assert {found[name] for name in found.keys() - may - closed} == {"EPERM"}, found


# -- how it is seen ----------------------------------------------------------------------------------------------------


def seen_by(uid: int, act) -> str:
    """What it comes to when a process of that user does it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        if uid:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        try:
            act()
            result = "done"
        except OSError as exc:
            result = errno.errorcode[exc.errno]
        os.write(writing, result.encode())
        os._exit(0)
    os.wait()
    os.close(writing)
    with open(reading) as pipe:
        return pipe.read()


def ptraced(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    if libc.ptrace(PTRACE_SEIZE, pid, None, None):
        raise OSError(ctypes.get_errno(), "ptrace")


def kind_of(fd: Path) -> str:
    name = os.readlink(fd)
    if found := re.fullmatch(r"/memfd:(\S+) \(deleted\)", name):
        return f"memory {found[1]}"
    if found := re.fullmatch(r"socket:\[(\d+)\]", name):
        unix = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
        return "unix socket" if found[1] in unix else f"another socket, {name}"
    named = {"/dev/fuse": "fuse", "anon_inode:[eventpoll]": "epoll", "anon_inode:[eventfd]": "eventfd"}
    if name.startswith("pipe:"):
        return "pipe"
    return "nothing" if name == "/dev/null" else named.get(name, name)
