"""The arena of a daemon, looked at from outside: is a value still in memory?"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.report import BenchError

WIPE_SECONDS: Final = 30
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies in the memfd."""

    fd: int
    offset: int


@contextlib.contextmanager
def place_of(supervisor: int, value: bytes) -> Iterator[Place]:
    """Where the value is. It begins a page, as every value does."""
    fd = os.open(_memfd(supervisor), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Place(fd, _found(fd, value))
    finally:
        os.close(fd)


def wiped_ns(place: Place, value: bytes) -> int:
    """When it was there no longer, by CLOCK_MONOTONIC. It looks without a pause, and lets others go first."""
    until = time.monotonic() + WIPE_SECONDS
    while os.pread(place.fd, len(value), place.offset) == value:
        if time.monotonic() > until:
            raise BenchError(f"a value is still in memory after {WIPE_SECONDS} s")
        os.sched_yield()
    return time.monotonic_ns()


def _memfd(supervisor: int) -> Path:
    for fd in Path(f"/proc/{supervisor}/fd").iterdir():
        with contextlib.suppress(OSError):
            if "secretfs-arena" in os.readlink(fd):
                return fd
    raise BenchError("the daemon has no arena")


def _found(fd: int, value: bytes) -> int:
    """Its offset; what was never written is passed over."""
    end, at = os.fstat(fd).st_size, 0
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        chunk = os.pread(fd, _CHUNK_BYTES, at)
        if (index := chunk.find(value)) >= 0:
            return at + index
        at += len(chunk)
    raise BenchError("the value is not in the arena")
