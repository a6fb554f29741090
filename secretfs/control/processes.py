"""Which processes a task is made of. Rule: a process counts when nothing says that it is not the task's.

A mount namespace is known by an inode number, and the kernel gives the number of one that is gone to the next
one that is made. So a process that is in "the" namespace counts only when its mount table has the task's
tree, or cannot tell: a chroot hides the mount.
"""

import contextlib
import errno
import os
from collections.abc import AsyncIterator

import trio

from secretfs.control.ports import Processes
from secretfs.core.names import TaskId
from secretfs.core.task import Leader
from secretfs.errors import UnavailableError
from secretfs.linux import process

_ROOT, _MOUNT_POINT = 3, 4  # fields of proc_pid_mountinfo(5), counted from 0
_GONE = (errno.ESRCH, errno.EINVAL)  # EINVAL: the number is a thread's by now, or the process has no mount table left


def leader_pidfd(leader: Leader) -> int | None:
    """A descriptor of that very process, or None when it has ended; the caller closes it.

    Raises: UnavailableError when that cannot be told now.
    """
    pidfd: int | None = None
    try:
        if leader.boot_id == process.boot_id():
            pidfd = os.pidfd_open(leader.pid)
            if process.start_ticks(leader.pid) == leader.start_ticks:
                found, pidfd = pidfd, None
                return found
    except OSError as exc:
        if exc.errno not in _GONE:
            raise UnavailableError(f"process {leader.pid} cannot be looked at: {exc.strerror}") from exc
    finally:
        if pidfd is not None:
            os.close(pidfd)
    return None


@contextlib.asynccontextmanager
async def members(processes: Processes, task_id: TaskId, mnt_ns: int) -> AsyncIterator[list[int]]:
    """Pidfds of the task's processes as of now, closed at the end. Raises: UnavailableError."""
    pidfds = await processes.members(mnt_ns)
    try:
        yield [pidfd for pidfd in pidfds if _counts(pidfd, task_id)]
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


async def ended_and_closed(pidfd: int) -> None:
    """Wait until this process has ended, and close its descriptor."""
    try:
        await ended([pidfd])
    finally:
        os.close(pidfd)


async def ended(pidfds: list[int]) -> None:
    """Wait until all of these processes have ended, see pidfd_open(2)."""
    for pidfd in pidfds:
        await trio.lowlevel.wait_readable(pidfd)


def in_task(mountinfo: str, task_id: TaskId) -> bool:
    """Whether this mount table has the task's tree, or is that of a chroot, where nobody can tell."""
    mounts = [line.split(" ") for line in mountinfo.splitlines()]
    has_tree = any(f"/{task_id}/" in f"{fields[_ROOT]}/" for fields in mounts)
    return has_tree or not any(fields[_MOUNT_POINT] == "/" for fields in mounts)


def _counts(pidfd: int, task_id: TaskId) -> bool:
    try:
        pid = process.pid_of(pidfd)
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return in_task(file.read(), task_id)
    except OSError as exc:  # ended meanwhile, or ending: it has left its namespaces; else nobody can tell
        return exc.errno not in (*_GONE, errno.ENOENT)
