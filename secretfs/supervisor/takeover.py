"""``secretfs daemon --takeover``: the supervisor that holds the lock is ended, as a crash would end it.

fs then has lost its supervisor and waits for the next one; everything after that is what follows a crash. The process
that gets the signal is the one that the kernel names as holder of the lock, whatever the lock file says.
"""

import fcntl
import os
import re
import signal
from collections.abc import Callable
from typing import Final

from secretfs.errors import SetupError
from secretfs.linux.process import died
from secretfs.supervisor.setup import LOCK, holds, named_holder

_END_SECONDS: Final = 5.0
_PIDS: Final = re.compile("[1-9][0-9]{0,8}")


def end_holder(directory: str, first: Callable[[], None]) -> None:
    """End the daemon that holds the directory's lock, if one does, after ``first``. Raises SetupError if that is not
    possible, and what ``first`` raises.
    """
    path = os.path.join(directory, LOCK)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise SetupError(f"{directory!r} cannot be locked: {exc.strerror}") from exc
    try:
        if _held(fd):
            first()
            _end(fd, directory)
    finally:
        os.close(fd)


def _end(fd: int, directory: str) -> None:
    named = named_holder(fd)
    pidfd = _pidfd_of(int(named), fd) if _PIDS.fullmatch(named) else None
    if pidfd is None:
        if _held(fd):
            raise SetupError(f"the daemon that uses {directory!r} cannot be told from others: stop it")
        return  # it has ended by itself
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if not died(pidfd, _END_SECONDS):
            raise SetupError(f"the daemon that uses {directory!r} (pid {named}) does not end")
    finally:
        os.close(pidfd)


def _pidfd_of(holder: int, fd: int) -> int | None:
    """A pidfd of that very process: it had the lock after the descriptor was made, so the pid was not another's."""
    try:
        pidfd = os.pidfd_open(holder)
    except ProcessLookupError:
        return None
    if holds(holder, fd):
        return pidfd
    os.close(pidfd)
    return None


def _held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
