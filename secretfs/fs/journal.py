"""Batches of bytes in shared memory, each there whole or not at all, however its writer died.

Two halves; one is active. A batch is ``length u32 | crc32 u32 | sequence u64 | payload`` and is appended to the active
half; its length is written last. When the half is full, the whole state is written as the first batch of the other
half, and the header is flipped::

    header   two slots of 32 bytes, written in turn: magic | sequence u64 | half u32 | crc32 u32

The newest slot whose checksum holds is the truth. Only kill -9 is feared here, not a power failure: memory is not
reordered for the next process, so no flush is needed.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from mmap import mmap

from secretfs.errors import ArenaFullError
from secretfs.link.layout import JOURNAL_HALF_BYTES, ArenaLayout

_MAGIC = b"secretfs-arena-1"
_HEADER = struct.Struct("<16sQII")
_BATCH = struct.Struct("<IIQ")
_LENGTH = struct.Struct("<I")
_END = b"\0" * _BATCH.size
RESERVED_BYTES = 1 << 20  # for batches that only take away: a flush is never refused for want of room


class Journal:
    """The active half and where the next batch goes. Made by opening: ``replay`` first, then ``append``."""

    def __init__(self, memory: mmap, layout: ArenaLayout) -> None:
        self._memory = memory
        self._halves = layout.journals
        self._sequence, self._half = self._newest_header()
        self._end = self._halves[self._half]

    def replay(self) -> Iterator[bytes]:
        """The payload of each batch since the last snapshot, in order; what a dying writer left half done is cut."""
        sequence = self._sequence
        while (payload := self._batch_at(self._end, sequence)) is not None:
            self._end += _BATCH.size + len(payload)
            sequence += 1
            yield payload
        self._sequence = sequence
        self._memory[self._end : self._end + _BATCH.size] = _END

    def append(self, payload: bytes, snapshot: Callable[[], bytes], *, reserved: bool = False) -> None:
        """Add a batch. When the half is full, ``snapshot()`` (the state without this batch) moves to the other half.

        Raises ArenaFullError, with nothing changed, when it does not fit even there; batches that only take away are
        ``reserved`` and have room of their own.
        """
        if not self._fits(payload, reserved=reserved):
            self._compact(snapshot())
            if not self._fits(payload, reserved=reserved):
                raise ArenaFullError("the arena's manifest is full: fewer tasks or fewer grants are needed")
        self._write(self._end, payload)
        self._end += _BATCH.size + len(payload)

    def _fits(self, payload: bytes, *, reserved: bool) -> bool:
        limit = self._halves[self._half] + JOURNAL_HALF_BYTES - (0 if reserved else RESERVED_BYTES)
        return self._end + 2 * _BATCH.size + len(payload) <= limit

    def _compact(self, state: bytes) -> None:
        half = 1 - self._half
        if 2 * _BATCH.size + len(state) > JOURNAL_HALF_BYTES:
            raise ArenaFullError("the arena's manifest is full: fewer tasks or fewer grants are needed")
        first = self._sequence
        self._write(self._halves[half], state)
        self._write_header(first, half)
        self._half, self._end = half, self._halves[half] + _BATCH.size + len(state)

    def _write(self, at: int, payload: bytes) -> None:
        body = at + _BATCH.size
        self._memory[body : body + len(payload)] = payload
        self._memory[body + len(payload) : body + len(payload) + _BATCH.size] = _END
        head = _BATCH.pack(len(payload), _checksum(self._sequence, payload), self._sequence)
        self._memory[at + _LENGTH.size : at + _BATCH.size] = head[_LENGTH.size :]
        self._memory[at : at + _LENGTH.size] = head[: _LENGTH.size]
        self._sequence += 1

    def _batch_at(self, at: int, sequence: int) -> bytes | None:
        limit = self._halves[self._half] + JOURNAL_HALF_BYTES
        if at + _BATCH.size > limit:
            return None
        length, checksum, found = _BATCH.unpack_from(self._memory, at)
        body = at + _BATCH.size
        if not length or found != sequence or body + length > limit:
            return None
        payload = self._memory[body : body + length]
        return payload if _checksum(sequence, payload) == checksum else None

    def _newest_header(self) -> tuple[int, int]:
        found = [header for slot in (0, 1) if (header := self._header(slot)) is not None]
        return max(found, default=(0, 0))

    def _header(self, slot: int) -> tuple[int, int] | None:
        magic, sequence, half, checksum = _HEADER.unpack_from(self._memory, slot * _HEADER.size)
        if magic != _MAGIC or checksum != zlib.crc32(_HEADER.pack(magic, sequence, half, 0)):
            return None
        return sequence, half

    def _write_header(self, sequence: int, half: int) -> None:
        """Half n has slot n: the slot of the active half is never written."""
        checksum = zlib.crc32(_HEADER.pack(_MAGIC, sequence, half, 0))
        at = half * _HEADER.size
        self._memory[at : at + _HEADER.size] = _HEADER.pack(_MAGIC, sequence, half, checksum)


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, sequence & 0xFFFFFFFF)
