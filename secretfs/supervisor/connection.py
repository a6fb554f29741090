"""The mount and the device behind it. Both outlive every fs: INIT is read once, recorded, and given to each.

The kernel sends INIT once per connection. Each fs gets a copy of it in a pipe, and puts the device in the pipe's place
while libfuse handles it (fs/main.py). After a death RESEND makes the kernel send again what the dead fs had not
answered.
"""

import contextlib
import os
import select
import struct
from typing import Final

from secretfs.errors import SetupError
from secretfs.linux.mount import (
    MNT_DETACH,
    MNT_FORCE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    mount,
    umount2,
)  # fmt: skip
from secretfs.supervisor.setup import FSTYPE, SOURCE

DEVICE: Final = "/dev/fuse"
_FLAGS: Final = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
_INIT_MILLISECONDS: Final = 5000
_MAX_INIT_BYTES: Final = 1 << 17  # FUSE_MIN_READ_BUFFER is 8192; libfuse reads with 1 MiB
_RESEND: Final = struct.pack("<IiQ", 16, 7, 0)  # fuse_out_header: length, FUSE_NOTIFY_RESEND, unique 0 (Linux 6.9)


class Connection:
    """One mount of secretfs. ``fd`` is the device; the mount is usable once an fs has answered INIT."""

    def __init__(self, mountpoint: str) -> None:
        """Mount. Raises SetupError."""
        self.mountpoint = mountpoint
        self.fd = _opened_device()
        try:
            _mount(self.fd, mountpoint)
        except SetupError:
            os.close(self.fd)
            raise
        try:
            self._init = _init_of(self.fd)
        except (OSError, SetupError):
            self.end()
            raise

    def init_pipe(self) -> int:
        """The reading end of a pipe that holds the recorded INIT; the caller closes it."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.write(writing, self._init)
        os.close(writing)
        return reading

    def resend(self) -> None:
        """Let the kernel send again what was not answered. Raises OSError EINVAL before Linux 6.9."""
        os.write(self.fd, _RESEND)

    def end(self) -> None:
        """Abort: every request fails with ENOTCONN from here, in every namespace; then take the mount away.

        Again is harmless.
        """
        if self.fd < 0:
            return
        for flags in (MNT_FORCE, MNT_DETACH):
            with contextlib.suppress(OSError):  # MNT_FORCE aborts the connection even where it says EBUSY
                umount2(self.mountpoint, flags)
        os.close(self.fd)
        self.fd = -1


def _opened_device() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise SetupError(
            f"{DEVICE} cannot be opened: {exc.strerror}: load the fuse module (modprobe fuse), or give the container "
            f"--device {DEVICE} --cap-add SYS_ADMIN"
        ) from exc


def _mount(fd: int, mountpoint: str) -> None:
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    try:
        mount(SOURCE, mountpoint, f"{FSTYPE}.{SOURCE}", _FLAGS, options)
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
