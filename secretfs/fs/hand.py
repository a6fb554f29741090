"""What is in hand is noted before it is handled: should this process die of it, the supervisor knows (link/hand.py)."""

from mmap import mmap

from secretfs.link.hand import NUMBERS, OFFSET, RECORD, hand_in

_PACK = RECORD.pack_into


class Hand:
    """The writing end. There is one fs at a time that serves, and it alone makes one of these."""

    def __init__(self, arena: mmap) -> None:
        self._arena = memoryview(arena)
        self._number = hand_in(arena).number

    def takes(self, operation: int, what: int, caller: int) -> None:
        """A request begins; ``operation`` by its place in OPERATIONS."""
        self._number = self._number + 1 & NUMBERS
        _PACK(self._arena, OFFSET, self._number, what, caller, operation)
