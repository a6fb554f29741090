"""Every open is in the ring before the kernel has its answer. Nothing here waits, and nothing here is a system call.

One request is in hand at a time, so at most one record is not answered yet. fs that dies in between leaves ANSWERED
behind HEAD: the kernel asks its successor again, and that record says that it repeats the one before. control is woken
after the answer, and only when it sleeps.
"""

import os
import time
from collections.abc import Callable
from mmap import mmap
from typing import Final

from secretfs.errors import LinkError
from secretfs.link import ring
from secretfs.link.ring import ANSWERED, HEAD, LOST, LOST_AT, REPEATED, SLOT, SLOTS, TAIL, WAITING

_PACK: Final = SLOT.pack_into


class Opens:
    """The writing end. There is one fs at a time that serves, and it alone makes one of these."""

    def __init__(self, memory: mmap, wake: Callable[[], None]) -> None:
        """``memory`` is the whole ring; ``wake`` lets control look at it."""
        self._ring = memoryview(memory)
        self._words = self._ring[: ring.HEADER_BYTES].cast("Q")
        self._wake = wake
        self._head = self._words[HEAD]
        self._full = self._words[TAIL] + SLOTS  # the slot that was not free when TAIL was last looked at
        self._at = ring.slot_at(self._head)
        self._in_doubt = self._unanswered()
        self._words[ANSWERED] = self._head
        self.unanswered = True  # what is there from before may not have been told

    def record(self, subject: tuple[bytes, ...], thread: int, uid: int, gid: int) -> None:
        """Write an open down; when there is no room, count it as lost.

        Every number that is not needed here is one that need not be made: they are most of what this costs.
        """
        head = self._head
        end = head + len(subject)
        if end > self._full and not self._has_room(end):
            return
        flags = self._flags(subject, thread) if self._in_doubt else 0
        _PACK(self._ring, self._at, head, time.time_ns(), thread, uid, gid, flags, subject[0])
        for number, part in enumerate(subject[1:], start=head + 1) if len(subject) > 1 else ():
            ring.put_more(self._ring, number, part)
        self._words[HEAD] = self._head = end
        self._at = self._at + ring.SLOT_BYTES if end == head + 1 and end % SLOTS else ring.slot_at(end)
        self.unanswered = True

    def _has_room(self, end: int) -> bool:
        """Whether the slots before ``end`` are free by now."""
        words = self._words
        self._full = words[TAIL] + SLOTS
        if end <= self._full:
            return True
        words[LOST_AT] = time.time_ns()
        words[LOST] += 1
        return False

    def answered(self) -> None:
        """Whatever was recorded has had its answer: to be called when ``unanswered``, before the next request."""
        words = self._words
        words[ANSWERED] = self._head
        if words[WAITING]:
            words[WAITING] = 0
            self._wake()
        self.unanswered = False

    def _unanswered(self) -> tuple[int, ring.Subject] | None:
        """Thread and subject of the one record that a predecessor may not have answered."""
        answered = self._words[ANSWERED]
        if answered == self._head:
            return None
        try:
            last = ring.opened(ring.read(self._ring, answered, self._head)[1])
        except LinkError:
            return None
        return last.thread, last.subject

    def _flags(self, subject: tuple[bytes, ...], thread: int) -> int:
        """A thread that waits for an answer opens nothing else meanwhile: its next open is the one, or none is."""
        doubted, what = self._in_doubt or (0, None)
        if thread != doubted:
            return 0
        self._in_doubt = None
        return REPEATED if what is not None and subject == ring.subject_slots(what) else 0


def opened_ring(fd: int, event_fd: int) -> Opens:
    """The ring that the supervisor has made. An older one makes none: then nobody reads what is recorded."""
    if fd < 0:
        return Opens(mmap(-1, ring.RING_BYTES), lambda: None)
    return Opens(mmap(fd, ring.RING_BYTES), lambda: os.eventfd_write(event_fd, 1))
