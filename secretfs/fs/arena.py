"""Pages of plaintext in the arena: allocated whole, counted while open, wiped when nothing names them any more.

One slot holds one version of one object, however many trees show it. What the manifest does not name holds no byte: a
successor wipes it before it serves.
"""

import struct
from collections.abc import Iterable
from mmap import mmap
from typing import Final

from secretfs.errors import ArenaFullError
from secretfs.fs import log
from secretfs.fs.manifest import Slot
from secretfs.link.layout import PAGE, TOUCH_OFFSET, ArenaLayout, pages
from secretfs.linux.memory import mlock

_TOUCH = struct.Struct("<QQ")
_MAX_COUNT: Final = 2**32 - 1
_ZEROS: Final = bytes(1 << 20)


class Arena:
    """The data part of the memfd. ``usable`` bytes of it are locked in memory; no page beyond is ever touched."""

    def __init__(self, memory: mmap, layout: ArenaLayout, usable: int, taken: Iterable[Slot]) -> None:
        self._mapping = memory
        self._locks = True  # until that is refused
        self._memory = memoryview(memory)
        self._layout = layout
        self._counts = self._memory[layout.counts : layout.counts + 4 * pages(layout.data_bytes)].cast("I")
        self.usable = usable
        self._free: list[tuple[int, int]] = []  # (first page, page count), ascending, never adjacent
        self._lock(0, usable)
        self._rebuild(taken)

    def is_touch(self, atime_ns: int, mtime_ns: int) -> bool:
        """Whether only the supervisor can have thought of these times (link/layout.py)."""
        touch = _TOUCH.unpack_from(self._memory, TOUCH_OFFSET)
        return all(touch) and touch == (atime_ns, mtime_ns)

    @property
    def capacity(self) -> int:
        """The most bytes that may ever become usable."""
        return self._layout.data_bytes

    def allocate(self, size: int) -> int:
        """First page of a free run for ``size`` bytes. Raises ArenaFullError: more must be made usable if it can."""
        need = pages(size)
        for index, (first, count) in enumerate(self._free):
            if count >= need:
                self._free[index : index + 1] = [(first + need, count - need)] if count > need else []
                return first
        raise ArenaFullError(f"the arena has no room for {size} bytes: raise --arena-max ({self.capacity} bytes)")

    def grown(self, usable: int) -> None:
        """More bytes are usable now."""
        before, self.usable = self.usable, max(self.usable, usable)
        self._lock(before, self.usable)
        self._release(before // PAGE, (self.usable - before) // PAGE)

    def data(self, first_page: int, size: int) -> memoryview:
        """The bytes of an allocation: a view, not a copy."""
        start = self._layout.data + first_page * PAGE
        return self._memory[start : start + size]

    def wipe(self, first_page: int, size: int) -> None:
        """Zero an allocation to the end of its last page, and take it back."""
        self._zero(first_page, pages(size))
        self._counts[first_page] = 0
        self._release(first_page, pages(size))

    def opened(self, page: int) -> None:
        """One more file handle on the slot that begins there: counted before the kernel hears of it, so the count is
        never too low.
        """
        count = self._counts[page]
        if count < _MAX_COUNT:
            self._counts[page] = count + 1

    def closed(self, page: int) -> None:
        """One file handle less."""
        count = self._counts[page]
        if count:
            self._counts[page] = count - 1

    def open_count(self, slot: Slot) -> int:
        """File handles on the slot; too high after a death between a count and its reply."""
        return self._counts[slot.first_page]

    def _lock(self, start: int, end: int) -> None:
        """The supervisor has locked it, and that lock ends with it, while fs serves on. Where fs may not lock so much,
        the supervisor's has to do.
        """
        if not self._locks or start == end:
            return
        try:
            mlock(self._mapping, self._layout.data + start, end - start)
        except OSError as refusal:
            self._locks = False
            log.warning("the arena is locked by the supervisor alone", usable=end, error=str(refusal))

    def _rebuild(self, taken: Iterable[Slot]) -> None:
        """Every usable page that no slot names is wiped and free."""
        at = 0
        for slot in sorted(taken, key=lambda slot: slot.first_page):
            self._reclaim(at, slot.first_page - at)
            at = slot.first_page + pages(slot.size)
        self._reclaim(at, self.usable // PAGE - at)

    def _reclaim(self, first: int, count: int) -> None:
        if count > 0:
            self._zero(first, count)
            counts = self._layout.counts + 4 * first
            self._memory[counts : counts + 4 * count] = bytes(4 * count)
            self._free.append((first, count))

    def _zero(self, first: int, count: int) -> None:
        at, end = (self._layout.data + page * PAGE for page in (first, first + count))
        while at < end:
            step = min(end - at, len(_ZEROS))
            self._memory[at : at + step] = _ZEROS[:step]
            at += step

    def _release(self, first: int, count: int) -> None:
        if not count:
            return
        merged: list[tuple[int, int]] = []
        for start, length in sorted([*self._free, (first, count)]):
            if merged and sum(merged[-1]) == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((start, length))
        self._free = merged
