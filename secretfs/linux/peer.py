"""Who is at the other end of a unix socket, by the kernel's word, see unix(7). Ask before reading a byte."""

import ctypes
import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

from secretfs.linux.libc import LIBC

_SO_PEERGROUPS = 59  # asm-generic/socket.h
_SO_PEERPIDFD = 77  # asm-generic/socket.h, Linux 6.5
_UCRED = struct.Struct("@iII")


class HasOptions(Protocol):
    """A socket of the standard library or of trio."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """As socket.socket has it."""

    def fileno(self) -> int:
        """As socket.socket has it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The peer's ids when it connected, in our namespaces: pid 0 when it is in no pid namespace of ours, uid
    65534 when unmapped.
    """

    pid: int
    uid: int
    gid: int


def credentials(connection: HasOptions) -> Credentials:
    """SO_PEERCRED. The pid may belong to another process by now: use pidfd() for anything but a log."""
    return Credentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def pidfd(connection: HasOptions) -> int:
    """SO_PEERPIDFD: a descriptor of the very process that connected, close-on-exec; the caller closes it.
    OSError ENOPROTOOPT before Linux 6.5; ProcessLookupError or EINVAL when the peer is gone.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4)
    return int(struct.unpack("@i", raw)[0])


def groups(connection: HasOptions) -> tuple[int, ...]:
    """SO_PEERGROUPS: the peer's supplementary groups when it connected. Python's getsockopt has room for 256 only."""
    length = ctypes.c_uint(0)
    while True:
        numbers = (ctypes.c_uint32 * (length.value // 4))()
        if not LIBC.getsockopt(connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, numbers, ctypes.byref(length)):
            return tuple(numbers[: length.value // 4])
        code = ctypes.get_errno()
        if code != errno.ERANGE:  # else length says how much room it takes
            raise OSError(code, os.strerror(code))
