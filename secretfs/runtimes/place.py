"""Where ``secretfs mount`` puts a tree. Rule: a path is walked once, and from then on descriptors say what is meant.

``/proc/PID/root/…`` means what that process means by it: its root directory, its links, its mount namespace. Walked as
it stands, an absolute link in a container would lead to a file of the host.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import Final, Self

from secretfs.errors import AttachError
from secretfs.linux import mountinfo, namespaces, process
from secretfs.linux.mount import MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, move_mount
from secretfs.linux.mountinfo import Mount
from secretfs.linux.paths import opened_in_root
from secretfs.supervisor.mountpoint import secretfs_mount
from secretfs.supervisor.visits import task_of

_IN_A_PROCESS: Final = re.compile(r"/proc/([0-9]+)/root(/.*)?", re.DOTALL)
_EMPTY_PATHS: Final = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ELSEWHERE: Final = "name a directory of a container as a process in it sees it: /proc/PID/root/PATH"


class Place:
    """A directory, and the mount namespace that it lies in: ours, or that of another process."""

    def __init__(self, path: str) -> None:
        """Raises: AttachError, when nothing can be mounted there."""
        self._given = path
        self._id, self._where = 0, ""  # of the mount, once it is there
        pid, inner = _parsed(os.path.abspath(path))
        with contextlib.ExitStack() as opened, _refusing(path):
            self._someone = None if pid is None else _opened(opened, os.pidfd_open(pid))
            home = f"/proc/{pid or 'self'}"
            self._table = _opened(opened, os.open(f"{home}/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
            self._namespace = _opened(opened, os.open(f"{home}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
            root = _opened(opened, os.open("/" if pid is None else f"{home}/root", _DIRECTORY))
            walked = os.open(inner, _DIRECTORY) if pid is None else opened_in_root(root, inner, _DIRECTORY)
            self._directory = _opened(opened, walked)
            if self._someone is not None and process.ended(self._someone):
                raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended")
            self.path = os.readlink(f"/proc/self/fd/{walked}") if pid is None else f"{home}/root{inner}"
            self._check(os.path.samestat(os.fstat(root), os.fstat(walked)))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._opened.close()

    @property
    def watched(self) -> tuple[int, int | None]:
        """What to wait for: POLLPRI of the mount table says that it has changed; POLLIN of the pidfd, if any, that a
        process in the other namespace has ended.
        """
        return self._table, self._someone

    def put(self, tree: int) -> None:
        """Mount the detached tree here, and close its descriptor. Raises: AttachError."""
        try:
            with _refusing(self._given):
                if self._someone is None:
                    move_mount(tree, "", self._directory, "", _EMPTY_PATHS)
                else:
                    self._put_inside(tree)
                self._id = mountinfo.mount_of(tree)
        finally:
            os.close(tree)

    def tree(self, task: str) -> Mount | None:
        """The task's tree, if it is mounted here still. After the loss of the daemon another mount takes its place."""
        found = [mount for mount in self._mounts() if secretfs_mount(mount) and task_of(mount) == task]
        by_id = [mount for mount in found if mount.id == self._id]
        for mount in [*by_id, *(mount for mount in found if mount.path == self._where)]:
            self._id, self._where = mount.id, mount.path
            return mount
        return None

    def inhabited(self) -> bool:
        """Whether the other namespace still has a process, which is watched from here. Without one it is only kept by
        us.
        """
        number = os.fstat(self._namespace).st_ino
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):  # ended, or ending
                if namespaces.ns_inode(name, "mnt") == number:
                    self._someone = _opened(self._opened, os.pidfd_open(int(name)))
                    if not process.ended(self._someone) and namespaces.ns_inode(name, "mnt") == number:
                        return True
        return False

    def _mounts(self) -> list[Mount]:
        os.lseek(self._table, 0, os.SEEK_SET)
        with open(self._table, "rb", buffering=0, closefd=False) as file:
            return mountinfo.parsed(file.readall())

    def _check(self, is_root: bool, /) -> None:
        if is_root:
            raise AttachError(f"cannot mount on {self._given!r}: it would hide everything else")
        under = mountinfo.mount_of(self._directory)
        if any(mount.id == under and secretfs_mount(mount) for mount in self._mounts()):
            raise _refusal(
                self._given, "a tree of secretfs is there", f"choose another directory, or: umount {self.path}"
            )

    def _put_inside(self, tree: int) -> None:
        """In a child, which enters the namespace. Raises OSError."""
        child = os.fork()
        if child == 0:
            code = 0
            try:
                namespaces.setns(self._namespace, namespaces.CLONE_NEWNS)
                move_mount(tree, "", self._directory, "", _EMPTY_PATHS)
            except OSError as refusal:
                code = refusal.errno or errno.EIO
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise OSError(code, os.strerror(code))


def _parsed(path: str) -> tuple[int | None, str]:
    """The process whose path it is, None for our own, and the path."""
    found = _IN_A_PROCESS.fullmatch(path)
    return (int(found[1]), found[2] or "/") if found else (None, path)


def _opened(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


@contextlib.contextmanager
def _refusing(path: str) -> Iterator[None]:
    """An OSError inside is an AttachError that names the path as it was given."""
    try:
        yield
    except FileNotFoundError:
        raise _refusal(path, "there is no such directory", "make it first, with mkdir -p") from None
    except NotADirectoryError:
        raise _refusal(path, "it is not a directory", "choose another, or make one with mkdir -p") from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        hint = _ELSEWHERE if isinstance(exc, OSError) and exc.errno == errno.EINVAL else "choose another directory"
        raise _refusal(path, reason, hint) from None


def _refusal(path: str, reason: str, hint: str) -> AttachError:
    refusal = AttachError(f"cannot mount on {path!r}: {reason}")
    refusal.add_note(hint)
    return refusal
