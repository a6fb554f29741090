"""The request that fs has in hand: one record in the arena's header, written before the handler runs. Pure.

::

    number u64 | inode or file handle u64 | caller u32 | operation u32

When fs dies over a request, the kernel sends that one again to the next fs, first of all. ``number`` counts the
requests of one fs after the other, and begins anew after 255 (so that CPython need not make a new int for each): if
each has taken one and died of it, it has gone up by one with each.
"""

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Final

OFFSET: Final = 1024  # in the arena; an older fs leaves zeros there
NUMBERS: Final = 255
RECORD: Final = struct.Struct("<QQII")
OPERATIONS: Final = (
    "none", "lookup", "getattr", "setattr", "open", "read", "release", "opendir", "readdir", "releasedir", "statfs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hand:
    """``what`` is an inode, or a file handle in read, release, readdir and releasedir; ``caller`` a thread of this pid
    namespace, 0 where the kernel does not say.
    """

    number: int = 0
    what: int = 0
    caller: int = 0
    operation: str = OPERATIONS[0]

    def repeats(self, other: "Hand") -> bool:
        """Whether this is the request after ``other``, and looks the same."""
        same = (self.what, self.caller, self.operation) == (other.what, other.caller, other.operation)
        return same and self.number & NUMBERS == other.number + 1 & NUMBERS


def hand_in(arena: mmap) -> Hand:
    """What the last fs had in hand."""
    number, what, caller, operation = RECORD.unpack_from(arena, OFFSET)
    return Hand(number, what, caller, OPERATIONS[operation] if operation < len(OPERATIONS) else str(operation))
