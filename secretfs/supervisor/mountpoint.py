"""The place of the mount: empty before, and as it was afterwards.

What is mounted on a shared mount, and systemd makes ``/`` one, is mounted in all its peers and slaves: in containers,
and in living tasks, where root would find the trees of other tasks. There the mountpoint is bound onto itself first,
and that bind is private.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from secretfs.errors import SetupError
from secretfs.linux import mountinfo
from secretfs.linux.mount import MNT_DETACH, MNT_FORCE, MS_BIND, MS_PRIVATE, mount, umount2
from secretfs.linux.mountinfo import Mount

FSTYPE: Final = "fuse"
SOURCE: Final = "secretfs"


def clear(path: str) -> None:
    """An empty directory that no secretfs is mounted on. A dead or left-over one is ended.

    It may still have an fs, which has outlived its supervisor: what that one serves can be revoked by nobody, so it is
    cut off, in every namespace. Only called with the lock held: no living daemon has that mount. Raises SetupError.
    """
    take_away(path)
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        content = os.listdir(path)
    except FileExistsError:
        raise SetupError(f"mountpoint {path!r} is not a directory: choose another with --mountpoint") from None
    except OSError as exc:
        raise SetupError(f"mountpoint {path!r} cannot be used: {exc.strerror}") from exc
    if content:
        raise SetupError(f"mountpoint {path!r} is not empty: choose another with --mountpoint")


def shelter(path: str) -> None:
    """See to it that what is mounted here next is mounted nowhere else; somebody may have removed the directory, from
    another mount namespace. Raises OSError.
    """
    Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    below = mountinfo.mount_under(path)
    if below and not below.shared:
        return
    if below is None or not _onto_itself(mountinfo.mount_at(path)):
        mount(path, path, flags=MS_BIND)
    mount(None, path, flags=MS_PRIVATE)


def take_away(path: str) -> None:
    """Abort every connection of secretfs that has its mount here, and leave nothing of ours."""
    with contextlib.suppress(OSError):
        while (found := mountinfo.mount_at(path)) and secretfs_mount(found):
            with contextlib.suppress(OSError):  # EBUSY: but it is aborted, clones of the mount serve nobody any more
                umount2(path, MNT_FORCE)
                continue
            umount2(path, MNT_DETACH)
        while _onto_itself(mountinfo.mount_at(path)):
            umount2(path, MNT_DETACH)


def secretfs_mount(mount: Mount) -> bool:
    """Whether it is one of ours; which daemon's is another question."""
    return mount.source == SOURCE and mount.fstype in (FSTYPE, f"{FSTYPE}.{SOURCE}")


def _onto_itself(mount: Mount | None) -> bool:
    """Whether it shows nothing but what would be there without it."""
    if mount is None:
        return False
    parent = next((other for other in mountinfo.mounts() if other.id == mount.parent), None)
    if parent is None:  # we are in a chroot
        return mount.root.endswith(mount.path)
    there = os.path.join(parent.root, os.path.relpath(mount.path, parent.path))
    return (mount.device, mount.root) == (parent.device, os.path.normpath(there))
