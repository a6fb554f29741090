"""What a user may try on the attach socket and with the mounts that he gets: ``tricks.py NAME SOCKET ARGUMENT...``.

One JSON document on standard output when it is done or ready; one that stays waits for its standard input to end.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys

from secretfs.errors import AttachError
from secretfs.linux import namespaces
from secretfs.linux.libc import LIBC
from secretfs.runtimes import connection, tree


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def request(service: str) -> dict[str, object]:
    return {"Service": service, "Secrets": [], "UntilLeader": False, "TargetDir": "/run/secrets"}


def become_a_task(path: str, service: str) -> list[int]:
    """Copies of the trees' descriptors."""
    daemon, answer = connection.attached(path, request(service))
    with daemon:
        kept = [os.dup(fd) for fd in answer.trees]
        tree.put_in_place(answer.trees, "/run/secrets", configs=False)
        connection.mounted(daemon)
    return kept


def outcome(act, *arguments) -> object:
    try:
        return act(*arguments)
    except AttachError as exc:
        return str(exc)
    except OSError as exc:
        return exc.strerror


def crowd(path: str, service: str, count: str) -> None:
    """As many tasks, then one more, and whenever a line comes another one; a line that says ``end`` ends one first."""
    pids = []
    for _ in range(int(count)):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            begun = outcome(become_a_task, path, service)
            os.write(writing, begun.encode() if isinstance(begun, str) else b".")
            signal.pause()
        pids.append(pid)
        begun = os.read(reading, 1000)
        assert begun == b".", begun
        os.close(reading)
        os.close(writing)
    say(one_more(path, service))
    for line in sys.stdin:
        if line == "end\n":
            os.kill(pids[0], signal.SIGKILL)
            os.waitpid(pids.pop(0), 0)
        say(one_more(path, service))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def one_more(path: str, service: str) -> object:
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            become_a_task(path, service)
            os.write(writing, b"started")
        except AttachError as exc:
            os.write(writing, str(exc).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(reading, 1000).decode()


def keep(path: str, service: str, target: str) -> None:
    """Keep a tree's descriptor, and one of a process that is no part of the task; say what both read at each line."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        _, [fd], _, _ = socket.recv_fds(theirs, 1, 1)
        while theirs.recv(1):
            theirs.send(json.dumps(outcome(read_below, fd, target)).encode())
        os._exit(0)
    theirs.close()
    pid = os.fork()
    if pid == 0:
        fd, _ = become_a_task(path, service)
        socket.send_fds(ours, [b"x"], [fd])
        ours.send(b"x")
        assert json.loads(ours.recv(9999)) == read_below(fd, target)
        say(os.getpid())
        signal.pause()
    for _ in sys.stdin:
        ours.send(b"x")
        say(json.loads(ours.recv(9999)))


def read_below(fd: int, target: str) -> str:
    opened = os.open(target, os.O_RDONLY, dir_fd=fd)
    try:
        return os.read(opened, 1000).decode()
    finally:
        os.close(opened)


def handle(path: str, service: str, mountpoint: str, kind: str, raw: str) -> None:
    """Open somebody else's directory by its file handle, through each mount that he can get a descriptor of: as he is,
    and then with all that a user namespace gives.
    """
    before = [outcome(open_by_handle, os.open(place, flags), kind, raw) for place, flags in places(mountpoint)]
    become_a_task(path, service)
    inside = [outcome(open_by_handle, os.open(place, flags), kind, raw) for place, flags in places(mountpoint)]
    say([before, inside, [outcome(os.listdir, mountpoint), outcome(os.open, mountpoint, os.O_RDONLY)]])


def places(mountpoint: str) -> list[tuple[str, int]]:
    return [("/", os.O_RDONLY), ("/run/secrets", os.O_RDONLY), ("/run/secrets", os.O_PATH), (mountpoint, os.O_PATH)]


def open_by_handle(mount_fd: int, kind: str, raw: str) -> str:
    content = bytes.fromhex(raw)
    packed = ctypes.create_string_buffer(
        len(content).to_bytes(4, sys.byteorder) + int(kind).to_bytes(4, sys.byteorder, signed=True) + content
    )
    fd = LIBC.open_by_handle_at(mount_fd, packed, os.O_RDONLY | os.O_DIRECTORY)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return str(os.listdir(fd))


def flood(path: str, count: str) -> None:
    """Connections that say nothing, garbage, or ask and hang up; as many at once, until standard input ends."""
    say("flooding")
    held: list[socket.socket] = []
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.setblocking(False)
        held.append(end)
        with contextlib.suppress(OSError):
            end.connect(path)
            if number % 3:
                end.send(b"\xff" * 60_000 if number % 3 == 1 else json.dumps(request("no such service")).encode())
        number += 1
        if len(held) > int(count):
            held.pop(0).close()
    say(number)


def namespaces_of_a_root(path: str, service: str) -> None:
    """Root of a user namespace of one's own."""
    namespaces.unshare(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS)
    say(outcome(connection.attached, path, request(service)))


TRICKS = {"crowd": crowd, "keep": keep, "handle": handle, "flood": flood, "root": namespaces_of_a_root}
TRICKS[sys.argv[1]](*sys.argv[2:])
