"""Memory that is a file without a name (memfd_create(2)), mapped, locked, and kept out of dumps and forks."""

import ctypes
import errno
import fcntl
import mmap
import os

from secretfs.linux.libc import LIBC, checked

_MFD_NOEXEC_SEAL = 0x8  # Linux 6.3: can never be made executable; without it newer kernels write a warning to their log
FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

LIBC.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
LIBC.munlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def memfd(name: str, size: int, *, seals: int = FIXED_SIZE) -> int:
    """A descriptor (close-on-exec) of size zero bytes of memory. FIXED_SIZE: nobody who holds it can cut it
    and give another a SIGBUS. name is what /proc/PID/fd shows.
    """
    fd = _sealable(name)
    try:
        os.ftruncate(fd, size)
        add_seals(fd, seals)
    except OSError:
        os.close(fd)
        raise
    return fd


def add_seals(fd: int, seals: int) -> None:
    """F_ADD_SEALS of fcntl(2). F_SEAL_WRITE is EBUSY while a writable mapping exists."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def seals_of(fd: int) -> int:
    """F_GET_SEALS of fcntl(2); OSError EINVAL when fd is no memfd."""
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS)


def mapped(fd: int, size: int = 0) -> mmap.mmap:
    """The memfd as memory that can be written, shared with every other mapping of it; size 0: all of it. The
    mapping holds a descriptor of its own, so fd may be closed.
    """
    return mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def mlock(mapping: mmap.mmap, offset: int = 0, length: int | None = None) -> None:
    """Lock a part of a writable mapping: its pages are there now and are never swapped. Whole pages are
    locked. ENOMEM or EPERM: RLIMIT_MEMLOCK. The lock is this mapping's, and ends with it; the pages of a
    memfd stay.
    """
    address, size = _range(mapping, offset, length)
    checked(LIBC.mlock(address, size), f"{size} bytes of memory")


def munlock(mapping: mmap.mmap, offset: int = 0, length: int | None = None) -> None:
    """Undo what mlock did to a part of a writable mapping."""
    address, size = _range(mapping, offset, length)
    checked(LIBC.munlock(address, size), f"{size} bytes of memory")


def keep_out_of_dumps(mapping: mmap.mmap) -> None:
    """MADV_DONTDUMP, see madvise(2): no core file holds it."""
    mapping.madvise(mmap.MADV_DONTDUMP)


def keep_out_of_forks(mapping: mmap.mmap) -> None:
    """MADV_DONTFORK, see madvise(2): a child does not have it. (MADV_WIPEONFORK is EINVAL on a memfd.)"""
    mapping.madvise(mmap.MADV_DONTFORK)


def address_of(mapping: mmap.mmap, offset: int = 0) -> int:
    """Where the byte at offset lies; good while the mapping lives and is not resized. TypeError when it
    cannot be written.
    """
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping, offset))


def _range(mapping: mmap.mmap, offset: int, length: int | None) -> tuple[int, int]:
    size = len(mapping) - offset if length is None else length
    if offset < 0 or size <= 0 or offset + size > len(mapping):
        raise ValueError(f"{size} bytes at {offset} are not inside a mapping of {len(mapping)} bytes")
    return address_of(mapping, offset), size


def _sealable(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
    except OSError as refusal:
        if refusal.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)
