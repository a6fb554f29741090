"""Going from mount namespace to mount namespace. Rule: what is found there is by its id, and a path only counts when it
leads to that very mount. What is done then is done to the descriptor: a namespace may be of a user, who moves
directories.

For processes of a single thread: setns(2) of a mount namespace needs one.
"""

import contextlib
import errno
import os
import re
import signal
from collections.abc import Iterator
from typing import Final, NoReturn

from secretfs.linux import mountinfo, namespaces, process
from secretfs.linux.mount import MNT_DETACH, umount2
from secretfs.linux.mountinfo import Mount

_TREE: Final = re.compile(r"/([0-9a-z]{25})/(?:secrets|configs)(?:/.*)?")
_DELETED: Final = "//deleted"
_LIVES, _OVER = 0, 1
_ENDED: Final = (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV)
_ANSWER_SECONDS: Final = 0.5
_END_SECONDS: Final = 0.2  # after SIGKILL
_MAX_FD: Final = (1 << 31) - 1


class Visits:
    """A process that goes anywhere and comes home again."""

    def __init__(self) -> None:
        self._proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._dead: dict[str, bool] = {}  # by device

    def tables(self) -> Iterator[tuple[int, int, list[Mount]]]:
        """Each mount namespace once: its number, a process in it, and the mounts which that one sees."""
        seen: set[int] = set()
        for name in os.listdir("/proc"):
            if not name.isdecimal():
                continue
            with contextlib.suppress(OSError):  # ended, or ending
                namespace = namespaces.ns_inode(name, "mnt")
                if namespace not in seen:
                    table = mountinfo.mounts(name)
                    seen.add(namespace)
                    yield namespace, int(name), table

    @contextlib.contextmanager
    def inside(self, pid: int, namespace: int) -> Iterator[list[Mount]]:
        """Be in the mount namespace of a process, at its root, with the mounts seen from there. Raises OSError."""
        fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_ino != namespace:
                raise ProcessLookupError(f"process {pid} is another's by now")
            namespaces.setns(fd, namespaces.CLONE_NEWNS)
            yield mountinfo.mounts(proc=self._proc)
        finally:
            os.close(fd)
            self._go_home()

    def _go_home(self) -> None:
        """Entering a mount namespace leads to its root; the daemon may be in a chroot."""
        namespaces.setns(self._home, namespaces.CLONE_NEWNS)
        os.fchdir(self._root)
        os.chroot(".")

    @contextlib.contextmanager
    def topmost(self, mount: Mount) -> Iterator[int]:
        """A descriptor of its path, which leads to this very mount, and keeps it. Raises OSError when it does not."""
        fd = os.open(mount.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not self._is(mount, fd):
                raise OSError(f"{mount.path!r} is another mount by now")
            yield fd
        finally:
            os.close(fd)

    def _is(self, mount: Mount, fd: int) -> bool:
        """Whether the descriptor lies on it. The kernel gives the id of one that is gone to the next."""
        number = mountinfo.mount_of(fd, proc=self._proc)
        kept = next((each for each in mountinfo.mounts(proc=self._proc) if each.id == number), None)
        if kept is None:
            return False
        return (kept.id, kept.device, root_of(kept)) == (mount.id, mount.device, root_of(mount))

    def take_away(self, fd: int) -> None:
        """Unmount, inside, what a descriptor of topmost() lies on. Raises OSError.

        umount2(2) wants a path: it is one in our /proc, for the namespace's own is another's. It leads to the mount
        itself, also when there is one on top or beneath by now.
        """
        os.fchdir(self._proc)
        umount2(f"self/fd/{fd}", MNT_DETACH)

    def dead(self, mount: Mount, fd: int) -> bool:
        """Whether the connection of this mount, which ``fd`` lies on, is over."""
        if mount.device not in self._dead:
            self._dead[mount.device] = _dead(fd)
        return self._dead[mount.device]


def root_of(mount: Mount) -> str:
    """Which tree it shows. A directory that was flushed, as all are when the daemon is stopped, is marked."""
    return mount.root.removesuffix(_DELETED)


def task_of(mount: Mount) -> str | None:
    """The task whose tree, or a part of it, this mount of secretfs shows."""
    found = _TREE.fullmatch(root_of(mount))
    return found[1] if found else None


def _dead(fd: int) -> bool:
    """One whose fs does not answer may live: it is another daemon's.

    Asked in a child, which can be left behind: once fs has taken the question, not even SIGKILL ends the wait for the
    answer. So it is only reaped when it has ended, and keeps nothing open that somebody waits for.
    """
    pid = os.fork()
    if pid == 0:
        _ask(fd)
    pidfd = os.pidfd_open(pid)
    try:
        process.ended(pidfd, _ANSWER_SECONDS)
        os.kill(pid, signal.SIGKILL)
        if not process.ended(pidfd, _END_SECONDS):
            return False
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == _OVER
    finally:
        os.close(pidfd)


def _ask(fd: int) -> NoReturn:
    try:
        os.closerange(0, fd)
        os.closerange(fd + 1, _MAX_FD)
        os.fstatvfs(fd)
        os._exit(_LIVES)
    except OSError as refusal:
        os._exit(_OVER if refusal.errno in _ENDED else _LIVES)
