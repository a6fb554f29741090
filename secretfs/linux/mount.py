"""Mounts: mount(2), umount2(2) and the descriptor-based calls of Linux 5.2. Nothing here decides where
anything goes.
"""

import ctypes
import os

from secretfs.linux.libc import LIBC, checked, path_bytes, syscall

# linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOVE_MOUNT_BENEATH = 0x200  # Linux 6.5

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x100000

_SYS_OPEN_TREE = 428  # from 424 on the numbers are the same on every architecture
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_MOUNT_SETATTR = 442

_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6

LIBC.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
LIBC.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


class _MountAttr(ctypes.Structure):
    """struct mount_attr, its first and only version: 32 bytes."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """What the man page says in section 2. OSError names the target."""
    result = LIBC.mount(
        None if source is None else path_bytes(source),
        path_bytes(target),
        None if fstype is None else fstype.encode(),
        flags,
        None if data is None else data.encode(),
    )
    checked(result, target)


def umount2(target: str, flags: int = 0) -> None:
    """Take a mount away, see umount(2). MNT_DETACH does it now and ends it when its last user goes."""
    checked(LIBC.umount2(path_bytes(target), flags), target)


def open_tree(path: str, *, dir_fd: int = AT_FDCWD, flags: int = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) -> int:
    """With OPEN_TREE_CLONE an O_PATH descriptor of a new, detached bind mount of path. The caller closes it,
    and with it the mount, if it was not moved anywhere. An empty path (AT_EMPTY_PATH in flags) means dir_fd
    itself.
    """
    arguments = ctypes.c_int(dir_fd), path_bytes(path), ctypes.c_uint(flags)
    return syscall(_SYS_OPEN_TREE, *arguments, name=path or f"fd {dir_fd}")


def detached(fstype: str) -> int:
    """An O_PATH descriptor of a new, detached mount of a file system that needs no options, see fsmount(2). The caller
    closes it, and with it the mount, if it was not moved anywhere.
    """
    made = syscall(_SYS_FSOPEN, fstype.encode(), ctypes.c_uint(_FSOPEN_CLOEXEC), name=fstype)
    try:
        command = ctypes.c_uint(_FSCONFIG_CMD_CREATE), None, None, ctypes.c_int(0)
        syscall(_SYS_FSCONFIG, ctypes.c_int(made), *command, name=fstype)
        flags = ctypes.c_uint(_FSMOUNT_CLOEXEC), ctypes.c_uint(0)
        return syscall(_SYS_FSMOUNT, ctypes.c_int(made), *flags, name=fstype)
    finally:
        os.close(made)


def move_mount(
    from_fd: int,
    from_path: str,
    to_fd: int,
    to_path: str,
    flags: int = MOVE_MOUNT_F_EMPTY_PATH,
) -> None:
    """Attach a detached mount, or move an attached one. The default flags take from_fd itself when from_path
    is empty. OSError names the place it should have gone to.
    """
    arguments = (
        ctypes.c_int(from_fd),
        path_bytes(from_path),
        ctypes.c_int(to_fd),
        path_bytes(to_path),
        ctypes.c_uint(flags),
    )
    syscall(_SYS_MOVE_MOUNT, *arguments, name=to_path or f"fd {to_fd}")


def mount_setattr(
    dir_fd: int,
    path: str = "",
    *,
    set_attributes: int = 0,
    clear_attributes: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    flags: int = AT_EMPTY_PATH,
) -> None:
    """Change MOUNT_ATTR_* and the propagation (MS_SHARED, MS_SLAVE, MS_PRIVATE) of one mount, or with
    AT_RECURSIVE of all below it, in one step.
    """
    attributes = _MountAttr(set_attributes, clear_attributes, propagation, userns_fd)
    arguments = (
        ctypes.c_int(dir_fd),
        path_bytes(path),
        ctypes.c_uint(flags),
        ctypes.pointer(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    syscall(_SYS_MOUNT_SETATTR, *arguments, name=path or f"fd {dir_fd}")
