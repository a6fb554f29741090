"""Which processes a task is made of, as root sees them. Rule: a mount namespace that has the task's tree is the task's,
with all its processes: sandboxes inside a task make namespaces of their own.

A namespace is asked once, through the mount table of one of its processes. The recorded one is the task's as well when
no process of it can tell (a chroot hides the mount); its number alone proves nothing: the kernel gives the number of a
namespace that is gone to the next one that is made. The daemon's own is nobody's: the whole file system is there.

A tree is of a device of ours (record.py), the one now or one before: after the loss of a connection, tasks have dead
mounts until they are repaired. What only looks like a tree anybody can mount who wants to pass for one of the task.
"""

import contextlib
import errno
import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from secretfs.linux.namespaces import ns_inode

# proc_pid_mountinfo(5): id, parent, device, root, mount point, options…, -, type
_TREE: Final = re.compile(rb"(?m)^\d+ \d+ (\S+) /([0-9a-z]{25})/(?:secrets|configs)(?:/\S*)? .* - fuse\.secretfs ")
_ROOT: Final = re.compile(rb"(?m)^\d+ \d+ \S+ \S+ / ")
# the number is a thread's by now, or there is no mount table left: EINVAL; not of our user namespace: EACCES, EPERM
_GONE: Final = (errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def unless_gone() -> Iterator[None]:
    """Let an OSError pass that says no more than that a process has ended."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _GONE:
            raise


class Home(NamedTuple):
    """Where a process lives."""

    mnt: int  # its mount namespace's inode number
    directory: str  # in /proc: of the process, or of a thread that has outlived the main thread


class Look:
    """One look at /proc. Raises OSError when it cannot be taken: "nobody is there" would end a task."""

    def __init__(self, devices: Collection[str]) -> None:
        """``devices`` are ours."""
        self._devices = devices
        self._processes = _by_namespace()
        self._untold: set[int] = set()
        self._namespaces: dict[str, set[int]] = {}
        for mnt, processes in self._processes.items():
            tasks, told = _trees(processes.values(), devices)
            for task in tasks:
                self._namespaces.setdefault(task, set()).add(mnt)
            if not told:
                self._untold.add(mnt)

    def members(self, task: str, recorded: int) -> list[int]:
        """Pids of the task's processes."""
        return [pid for mnt in self._namespaces_of(task, recorded) for pid in self._processes[mnt]]

    def confirms(self, pid: int, task: str, recorded: int) -> bool:
        """Whether this number still is a process of the task, maybe in a namespace that is new since."""
        home = _home_of(pid)
        if home is None:
            return False
        return home.mnt in self._namespaces_of(task, recorded) or task in _trees([home.directory], self._devices)[0]

    def _namespaces_of(self, task: str, recorded: int) -> set[int]:
        return self._namespaces.get(task, set()) | (self._untold & {recorded})


def belongs(pid: int, task: str, recorded: int, devices: Collection[str]) -> bool:
    """Whether this process is one of the task's; ``devices`` are ours. Raises OSError when that cannot be told."""
    home = _home_of(pid)
    if home is None or home.mnt == ns_inode("self", "mnt"):
        return False
    tasks, told = _trees([home.directory], devices)
    return task in tasks or (not told and home.mnt == recorded)


def _trees(directories: Iterable[str], devices: Collection[str]) -> tuple[set[str], bool]:
    """Tasks whose tree is mounted there, and whether a process could tell that there are no more."""
    tasks: set[str] = set()
    for directory in directories:
        with unless_gone():
            table = _mount_table(directory)
            tasks.update(task.decode() for device, task in _TREE.findall(table) if device.decode() in devices)
            if _ROOT.search(table):
                return tasks, True
    return tasks, False


def _by_namespace() -> dict[int, dict[int, str]]:
    """By mount namespace: the pids of its processes, and the directory of each in /proc."""
    own = ns_inode("self", "mnt")
    found: dict[int, dict[int, str]] = {}
    for name in os.listdir("/proc"):
        home = _home_of(int(name)) if name.isdecimal() else None
        if home is not None and home.mnt != own:
            found.setdefault(home.mnt, {})[int(name)] = home.directory
    return found


def _home_of(pid: int) -> Home | None:
    """Of a process that lives. /proc/PID is a zombie when only the main thread has ended: the others are asked."""
    with unless_gone():
        return Home(ns_inode(pid, "mnt"), f"/proc/{pid}")
    with unless_gone():
        for thread in os.listdir(f"/proc/{pid}/task"):
            with unless_gone():
                return Home(ns_inode(f"{pid}/task/{thread}", "mnt"), f"/proc/{pid}/task/{thread}")
    return None


def _mount_table(directory: str) -> bytes:
    with open(f"{directory}/mountinfo", "rb", buffering=0) as file:
        return file.readall()
