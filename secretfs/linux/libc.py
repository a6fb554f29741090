"""How this package calls the kernel. The rule: a failure is an OSError with errno and the name of the object,
and the GIL is free during the call (ctypes releases it for functions of a CDLL).
"""

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def checked(result: int, name: str | None = None) -> int:
    """The result of a call, or the OSError of its errno; name is what the call was about."""
    if result != -1:
        return result
    code = ctypes.get_errno()
    if name is None:
        raise OSError(code, os.strerror(code))
    raise OSError(code, os.strerror(code), name)


def syscall(
    number: int, *arguments: "ctypes._SimpleCData[int] | ctypes._CData | bytes | None", name: str | None
) -> int:
    """For calls newer than the C library, see the man page of syscall. Integers are passed as ctypes values,
    their width is part of the call.
    """
    return checked(int(LIBC.syscall(ctypes.c_long(number), *arguments)), name)


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    """The path as the kernel takes it; ValueError when it holds a zero byte, which the kernel would take for
    its end.
    """
    encoded = os.fsencode(path)
    if 0 in encoded:
        raise ValueError(f"a zero byte in the path {os.fspath(path)!r}")
    return encoded
