"""Opening a path as another root directory has it, see openat2(2)."""

import ctypes
import os

from secretfs.linux.libc import path_bytes, syscall

_SYS_OPENAT2 = 437
_RESOLVE_IN_ROOT = 0x10  # linux/openat2.h: absolute links and .. stay below


class _OpenHow(ctypes.Structure):
    """struct open_how, its first version: 24 bytes."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def opened_in_root(root_fd: int, path: str, flags: int) -> int:
    """A descriptor of path with the directory root_fd as ``/``, close-on-exec; the caller closes it."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    arguments = ctypes.c_int(root_fd), path_bytes(path), ctypes.pointer(how), ctypes.c_size_t(ctypes.sizeof(how))
    return syscall(_SYS_OPENAT2, *arguments, name=path)
