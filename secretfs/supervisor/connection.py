"""The mount and the device behind it. Both outlive every fs: INIT is read once, recorded, and given to each.

The kernel sends INIT once per connection. Each fs gets a copy of it, and puts the device in the copy's place while
libfuse handles it (fs/main.py). After a death RESEND makes the kernel send again what the dead fs had not answered.

A second, detached mount of the same connection is kept: should somebody take the one at the mountpoint away, it is put
there again, and no task notices.

Every mount is read-only, but one that nobody else has: what the supervisor touches through it, the kernel tells whoever
watches (inotify(7)). The file system as such is not, as nothing of it could be touched then; fs refuses all writes.
"""

import os
import select
from typing import Final, Self

from secretfs.errors import SetupError
from secretfs.linux import fuse, mountinfo
from secretfs.linux.mount import (
    AT_FDCWD,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)  # fmt: skip
from secretfs.supervisor.mountpoint import FSTYPE, SOURCE, shelter, take_away

DEVICE: Final = "/dev/fuse"
_FLAGS: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC
_INIT_MILLISECONDS: Final = 5000
_MAX_INIT_BYTES: Final = 1 << 17  # FUSE_MIN_READ_BUFFER is 8192; libfuse reads with 1 MiB
_CHANGED: Final = select.POLLPRI  # of a mount table, see proc_pid_mounts(5)


class Connection:
    """One mount of secretfs. ``fd`` is the device; the mount is usable once an fs has answered INIT."""

    def __init__(self, mountpoint: str, fd: int, init: bytes) -> None:
        """For a mount that is there. Raises OSError."""
        self.mountpoint = mountpoint
        self.fd = fd
        self.init = init
        self.device = _device_at(mountpoint)
        self._spare = open_tree(mountpoint)
        self._pen = open_tree(mountpoint)
        mount_setattr(self._pen, clear_attributes=MOUNT_ATTR_RDONLY)
        self._table = os.open("/proc/self/mounts", os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._table, _CHANGED)

    @classmethod
    def made(cls, mountpoint: str) -> Self:
        """Mount. Raises SetupError."""
        fd = _opened_device()
        try:
            _mount(fd, mountpoint)
        except SetupError:
            take_away(mountpoint)
            os.close(fd)
            raise
        try:
            return cls(mountpoint, fd, _init_of(fd))
        except (OSError, SetupError) as exc:
            take_away(mountpoint)
            os.close(fd)
            if isinstance(exc, SetupError):
                raise
            raise SetupError(f"the mount on {mountpoint!r} cannot be used: {exc}") from exc

    def resend(self) -> None:
        """Let the kernel send again what was not answered. Raises OSError EINVAL before Linux 6.9."""
        fuse.resend(self.fd)

    @property
    def ended(self) -> bool:
        """Whether it was aborted, by whomever: no fs can serve on it any more."""
        return fuse.ended(self.fd)

    def kept(self) -> bool:
        """Put the mount where it belongs, if somebody has taken it away; whether that was so. Raises OSError."""
        if not self._changes.poll(0) or self._in_place():
            return False
        shelter(self.mountpoint)
        move_mount(self._spare, "", AT_FDCWD, self.mountpoint)
        os.close(self._spare)
        self._spare = open_tree(self.mountpoint)
        return True

    def touch(self, path: str, times: tuple[int, int]) -> None:
        """Set the times of a file or directory, so that the kernel tells who watches it. Raises OSError."""
        os.utime(path, ns=times, dir_fd=self._pen, follow_symlinks=False)

    def end(self) -> None:
        """Abort: every request fails with ENOTCONN from here, in every namespace; then take the mount away.

        Again is harmless.
        """
        if self.fd < 0:
            return
        for fd in (self._spare, self._pen, self._table):
            os.close(fd)
        take_away(self.mountpoint)
        os.close(self.fd)
        self.fd = -1

    def _in_place(self) -> bool:
        return self.ended or _device_at(self.mountpoint) == self.device


def _device_at(mountpoint: str) -> str:
    try:
        found = mountinfo.mount_at(mountpoint)
    except FileNotFoundError:  # a directory that is mounted on can be removed from another mount namespace
        return ""
    return found.device if found else ""


def _opened_device() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        if isinstance(exc, PermissionError):
            raise SetupError(f"{DEVICE} is closed to this user: run chmod 0666 {DEVICE}, as root") from exc
        raise SetupError(
            f"{DEVICE} cannot be opened: {exc.strerror}: load the fuse module (modprobe fuse), or give the container "
            f"--device {DEVICE} --cap-add SYS_ADMIN"
        ) from exc


def _mount(fd: int, mountpoint: str) -> None:
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    try:
        shelter(mountpoint)
        mount(SOURCE, mountpoint, f"{FSTYPE}.{SOURCE}", _FLAGS, options)
        mount_setattr(AT_FDCWD, mountpoint, set_attributes=MOUNT_ATTR_RDONLY, flags=0)
    except OSError as exc:
        raise SetupError(
            f"secretfs cannot be mounted on {mountpoint!r}: {exc.strerror}: CAP_SYS_ADMIN is needed"
        ) from exc


def _init_of(fd: int) -> bytes:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(_INIT_MILLISECONDS):
        raise SetupError(f"the kernel sent no FUSE_INIT within {_INIT_MILLISECONDS} ms")
    return os.read(fd, _MAX_INIT_BYTES)
