"""Room that is kept for taking things away. Rule: what a store holds can be removed, however full its disk is.

To remove a record SQLite needs room first: zeros over the pages that become free go through the write-ahead
log. So a file beside the store holds as much room as a commit over all of the store would take, up to
MAX_BYTES, and gives it up when a commit that takes away has none. It is made before the store grows.
"""

import errno
import os
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 8 << 20  # the largest config, 1000 KiB, and two thousand pages of grants with it
SLACK_BYTES: Final = 64 << 10  # the index of the write-ahead log, 32 KiB, and an audit record
_STEP: Final = 64 << 10
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Reserve:
    """The file; every call blocks. Another process of a control that is being replaced may have it too."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(f"{store.name}-reserve")

    def holds(self, store_bytes: int) -> bool:
        """Whether it is there already for a store of this size."""
        try:
            return os.stat(self._path, follow_symlinks=False).st_size >= _needed(store_bytes)
        except FileNotFoundError:
            return False

    def ensure(self, store_bytes: int) -> bool:
        """Hold what a store of this size needs; False, and as before, when the disk has no room for it."""
        fd = self._opened()
        try:
            return _grown(fd, _needed(store_bytes))
        finally:
            os.close(fd)

    def fit(self, store_bytes: int) -> None:
        """Hold what a store of this size needs and not more; less, when the disk has no room for it."""
        fd = self._opened()
        try:
            needed = _needed(store_bytes)
            if os.fstat(fd).st_size > needed:
                os.ftruncate(fd, needed)
            while (size := os.fstat(fd).st_size) < needed and _grown(fd, min(size + _STEP, needed)):
                pass
        finally:
            os.close(fd)

    def give_up(self, size: int = MAX_BYTES + SLACK_BYTES) -> bool:
        """Let go of this much or what there is; whether there was any that could be let go of."""
        try:
            fd = os.open(self._path, _FLAGS & ~os.O_CREAT)
        except OSError:
            return False
        try:
            before = os.fstat(fd).st_size
            os.ftruncate(fd, max(0, before - size))
        finally:
            os.close(fd)
        return before > 0

    def _opened(self) -> int:
        return os.open(self._path, _FLAGS, 0o600)


def _needed(store_bytes: int) -> int:
    steps = -(-min(store_bytes, MAX_BYTES) // _STEP)
    return steps * _STEP + SLACK_BYTES


def _grown(fd: int, needed: int) -> bool:
    """Make it this long, with room behind every byte, see posix_fallocate(3)."""
    size = os.fstat(fd).st_size
    if size >= needed:
        return True
    try:
        os.posix_fallocate(fd, size, needed - size)
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        os.ftruncate(fd, size)
        return False
    return True
