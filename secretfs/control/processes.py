"""The processes of a task, as descriptors that become readable at their end. Which they are is the supervisor's to say:
mount tables of other users' processes are closed to control.
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

_GONE = (errno.ESRCH, errno.EINVAL)  # EINVAL: the number is a thread's by now


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
    pidfds = await processes.members(task_id, mnt_ns)
    try:
        yield pidfds
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
