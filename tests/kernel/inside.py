"""The client of a mount under test: a process inside a task that does what it is told, one JSON line at a time."""

import errno
import json
import mmap
import os
import socket
import sys

opened: dict[int, mmap.mmap] = {}


def cat(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().hex()


def stat(path: str) -> list[object]:
    found = os.stat(path)
    return [found.st_uid, found.st_gid, f"{found.st_mode & 0o7777:o}", found.st_size, found.st_ino]


def read(fd: int, size: int) -> str:
    return os.pread(fd, size, 0).hex()


def peek(fd: int, size: int) -> str:
    return opened[fd][:size].hex()


def open_file(path: str, flags: str = "O_RDONLY") -> int:
    return os.open(path, getattr(os, flags))


def readv(fd: int) -> int:
    return os.preadv(fd, [bytearray(10)], 0)


def sendfile(fd: int) -> int:
    with open("/dev/null", "wb") as null:
        return os.sendfile(null.fileno(), fd, 0, 10)


def splice(fd: int) -> int:
    reading, writing = os.pipe()
    try:
        return os.splice(fd, writing, 10, 0)
    finally:
        os.close(reading)
        os.close(writing)


def reopened(fd: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)


def mapped_anew(fd: int) -> int:
    with mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as memory:
        return memory[0]


def ls(path: str) -> list[str]:
    return sorted(os.listdir(path))


def mapped(fd: int) -> int:
    opened[fd] = mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
    return fd


def forked(fifo: str) -> int:
    """A child in a session of its own that lives until somebody opens the fifo for writing."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for fd in (0, 1, 2):
            os.close(fd)
        os.close(os.open(fifo, os.O_RDONLY))
        os._exit(0)
    return pid


def give(fd: int, path: str) -> None:
    """Hand an open descriptor to a process outside the task."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
        socket.send_fds(end, [b"x"], [fd])


OPS = {
    "cat": cat, "stat": stat, "read": read, "peek": peek, "open": open_file, "ls": ls, "map": mapped, "fork": forked,
    "give": give, "readv": readv, "sendfile": sendfile, "splice": splice, "reopened": reopened,
    "mapped anew": mapped_anew,
}  # fmt: skip


def say(reply: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def main() -> None:
    say({"value": os.getpid()})
    for line in sys.stdin:
        op, *args = json.loads(line)
        try:
            say({"value": OPS.get(op, getattr(os, op, None))(*args)})
        except OSError as exc:
            say({"error": errno.errorcode[exc.errno]})


main()
