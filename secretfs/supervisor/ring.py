"""The memory in which fs records every open until control has stored it. It outlives all three processes."""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from secretfs.link import ring
from secretfs.linux import memory

_BEGIN = struct.Struct(f"<Q{ring.ID_BYTES}s")


@dataclass(frozen=True, slots=True)
class OpensRing:
    """Two descriptors: the memfd, and the eventfd by which fs wakes control."""

    fd: int
    event_fd: int

    @classmethod
    def made(cls) -> Self:
        """An empty one. Raises OSError."""
        fd = memory.memfd("secretfs-opens", ring.RING_BYTES)
        try:
            os.pwrite(fd, _BEGIN.pack(ring.MAGIC, os.urandom(ring.ID_BYTES)), 0)
            return cls(fd, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        except OSError:
            os.close(fd)
            raise

    @classmethod
    def adopted(cls, fds: Sequence[int]) -> Self | None:
        """The one that came with these; None, and they are closed, when they are none of this version's."""
        if len(fds) == len(cls.__slots__) and _is_ring(fds[0]):
            return cls(*fds)
        for fd in fds:
            os.close(fd)
        return None

    @property
    def fds(self) -> tuple[int, int]:
        """For children."""
        return self.fd, self.event_fd


def _is_ring(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size == ring.RING_BYTES and _BEGIN.unpack(os.pread(fd, _BEGIN.size, 0))[0] == ring.MAGIC
