"""Landlock, see landlock(7): what is not listed is denied, for this thread and all it will start, without a
way back.

Whatever right the kernel can handle is handled, so that each is denied where no path allows it. Descriptors
that are already open keep their rights: everything that is needed is opened or imported first.
"""

import ctypes
import errno
import os
from collections.abc import Iterable

from secretfs.linux.libc import syscall
from secretfs.linux.process import set_no_new_privs

_SYS_CREATE_RULESET = 444
_SYS_ADD_RULE = 445
_SYS_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

# linux/landlock.h: LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK = 1 << 7, 1 << 8, 1 << 9
_TRUNCATE = 1 << 14
_FIRST_RIGHTS = (1 << 13) - 1
_FS_RIGHTS_ADDED = {2: 1 << 13, 3: _TRUNCATE, 5: 1 << 15}  # ABI: REFER, TRUNCATE, IOCTL_DEV
_NET_ABI, _NET_RIGHTS = 4, 0b11  # BIND_TCP, CONNECT_TCP
_SCOPE_ABI, _SCOPE_SOCKETS, _SCOPE_SIGNALS = 6, 1 << 0, 1 << 1  # abstract unix sockets, signals

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _TRUNCATE
_OF_A_FILE = (
    _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _FS_RIGHTS_ADDED[5]
)  # all that a rule for a file may name


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """What this kernel can do: 1 files, 3 truncation as well, 4 and TCP, 6 and signals and abstract sockets;
    0 without Landlock.
    """
    try:
        return _create_ruleset(None, 0, _CREATE_RULESET_VERSION)
    except OSError as refusal:
        if refusal.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def restrict(
    read: Iterable[str] = (), write: Iterable[str] = (), execute: Iterable[str] = (), *, signals: bool = False
) -> int:
    """Deny all files but those below read, below write (which may be read too) and below execute (read and
    run), all of TCP, abstract sockets of processes outside and, without ``signals``, signals to them. Sets
    no_new_privs. Returns abi(), by which the caller knows what it got; 0 means nothing but no_new_privs. A path
    that does not exist is an OSError, and nothing is restricted.
    """
    set_no_new_privs()
    version = abi()
    if version == 0:
        return 0
    scopes = _SCOPE_SOCKETS | (0 if signals else _SCOPE_SIGNALS)
    ruleset = _Ruleset(_fs_rights(version), _NET_RIGHTS, scopes)
    fd = _create_ruleset(ruleset, _ruleset_size(version), 0)
    try:
        for paths, rights in ((read, _READ), (write, _WRITE), (execute, _READ | _EXECUTE)):
            for path in paths:
                _allow(fd, path, rights & ruleset.fs)
        syscall(_SYS_RESTRICT_SELF, ctypes.c_int(fd), ctypes.c_uint32(0), name="landlock ruleset")
    finally:
        os.close(fd)
    return version


def _fs_rights(version: int) -> int:
    added = (right for since, right in _FS_RIGHTS_ADDED.items() if since <= version)
    return _FIRST_RIGHTS | sum(added)


def _ruleset_size(version: int) -> int:
    """The struct grew: a kernel takes a longer one only if what it does not know is zero."""
    if version >= _SCOPE_ABI:
        return 24
    return 16 if version >= _NET_ABI else 8


def _create_ruleset(ruleset: _Ruleset | None, size: int, flags: int) -> int:
    pointer = None if ruleset is None else ctypes.pointer(ruleset)
    return syscall(_SYS_CREATE_RULESET, pointer, ctypes.c_size_t(size), ctypes.c_uint32(flags), name="landlock ruleset")


def _allow(ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(f"/proc/self/fd/{parent}"):
            rights &= _OF_A_FILE
        rule = _PathBeneath(rights, parent)
        arguments = (
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.pointer(rule),
            ctypes.c_uint32(0),
        )
        syscall(_SYS_ADD_RULE, *arguments, name=path)
    finally:
        os.close(parent)
