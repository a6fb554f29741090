"""One control at a time writes the store. Rule: the next one waits until the last has ended, and ends it if it must.

When a supervisor dies its control ends too, but not before it has finished what it was writing. The lock is one of
fcntl(2): the kernel says who holds it, and no other process can hold it in that one's stead.
"""

import contextlib
import fcntl
import os
import signal
import struct
from pathlib import Path
from typing import Final

import trio

from secretfs.control import log
from secretfs.errors import StoreError

PATIENCE_SECONDS: Final = 2.0  # for the last control to end by itself
_FLOCK: Final = struct.Struct("@hhqqi")  # struct flock: type, whence, start, length, pid


async def sole(path: Path) -> int:
    """Wait until no other control has the lock; a descriptor that holds it, never closed. Raises StoreError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    while not _locked(fd):
        holder = _holder(fd)
        if holder is not None:
            await _ended(holder, fd)
    return fd


async def _ended(holder: int, fd: int) -> None:
    try:
        pidfd = os.pidfd_open(holder)
    except ProcessLookupError:
        return
    try:
        if _holder(fd) != holder:  # the pid was another's already
            return
        with trio.move_on_after(PATIENCE_SECONDS):
            await trio.lowlevel.wait_readable(pidfd)
            return
        log.warning("the last control does not end: it is ended", pid=holder)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def _locked(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _holder(fd: int) -> int | None:
    """The pid of who has the lock, None when nobody has it any more."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return None
    if pid <= 0:
        raise StoreError("the store is used by a process that cannot be seen from here: end it")
    return int(pid)
