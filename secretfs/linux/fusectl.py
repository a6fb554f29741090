"""All FUSE connections of the kernel, by the numbers of their devices, and who has mounted each.

The fusectl file system has an entry for each superblock of FUSE, from its mount until its last mount is gone, be the
connection alive or over. The entry belongs to the user that the mount is for, as the host counts users: fusermount3 and
user namespaces let nobody name another.
"""

import errno
import os
from typing import Final

from secretfs.linux import mountinfo
from secretfs.linux.mount import detached

_FSTYPE: Final = "fusectl"
_USUAL_PLACE: Final = "/sys/fs/fuse/connections"
_NOT_OURS_TO_MOUNT: Final = (errno.EPERM, errno.EACCES, errno.ENODEV, errno.ENOSYS)
_ANONYMOUS: Final = "0"  # the major number of what no block device is behind


def opened() -> int | None:
    """A descriptor of the file system; None where it can be had neither from the kernel (which takes CAP_SYS_ADMIN of
    the host's user namespace) nor at its usual place. Raises OSError.
    """
    try:
        return detached(_FSTYPE)
    except OSError as refusal:
        if refusal.errno not in _NOT_OURS_TO_MOUNT:
            raise
    found = mountinfo.mount_at(_USUAL_PLACE) if os.path.isdir(_USUAL_PLACE) else None
    if found is None or found.fstype != _FSTYPE:
        return None
    return os.open(_USUAL_PLACE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def owner(connections: int, device: str) -> int | None:
    """The uid that the FUSE mount with this ``MAJOR:MINOR`` is for; None when there is no such mount any more."""
    major, _, minor = device.partition(":")
    if major != _ANONYMOUS or not minor.isdecimal():
        return None
    try:
        return os.stat(minor, dir_fd=connections, follow_symlinks=False).st_uid
    except FileNotFoundError:
        return None
