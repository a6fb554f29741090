"""The ring of opens: what fs writes before it answers an OPEN, and control reads when it can. Pure.

::

    header (1 page of 64-bit words) | SLOTS slots of SLOT_BYTES

    slot    number u64 | time u64 (ns since 1970) | thread u32 | uid u32 | gid u32 | flags u32 | subject [160]
            or, where the subject of the slot before goes on:    number u64 | subject [184]
    subject size u16 | kind u8 | version u32 | task [25] | object [25] | target (UTF-8), to its size, then zeros

One writes and one reads. fs writes a slot, then HEAD: what HEAD counts is whole, wherever fs was killed. control moves
TAIL when what it has read is stored. Each word is written by one of the two alone, but for WAITING. A slot's number is
its place since the ring was made, so a record that is read twice is known.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from secretfs.errors import LinkError

MAGIC: Final = int.from_bytes(b"SFOPENS1", "little")
SLOTS: Final = 65_536
SLOT_BYTES: Final = 192
HEADER_BYTES: Final = 4096
RING_BYTES: Final = HEADER_BYTES + SLOTS * SLOT_BYTES
ID_BYTES: Final = 16

# Words of the header. What fs writes and what control writes lie apart, in different lines of the processors' caches.
MAGIC_WORD: Final = 0
ID_WORD: Final = 1  # and the next: 16 random bytes, made with the ring
HEAD: Final = 16  # the number of the slot that is written next
ANSWERED: Final = 17  # HEAD when fs last looked for a request: what was recorded before it has had its answer
LOST: Final = 18  # opens that found the ring full
LOST_AT: Final = 19  # when the last of them came, ns since 1970
TAIL: Final = 32  # the number of the slot that is read next; the slots before are free
WAITING: Final = 33  # control sets it before it sleeps; fs clears it and wakes control

REPEATED: Final = 1  # flag: fs died after the record before this one of the same thread; the kernel asked again

SLOT: Final = struct.Struct("<QQIIII160s")
_MORE: Final = struct.Struct("<Q184s")
_SUBJECT: Final = struct.Struct("<HBI25s25s")
_FIRST_BYTES: Final = 160
_MORE_BYTES: Final = 184
_MAX_TARGET_BYTES: Final = 4096  # PATH_MAX
_KNOWN_SUBJECTS: Final = 4096


class Subject(NamedTuple):  # as Opened: made for every open, and a frozen dataclass takes four times as long
    """What was opened; kind 0 secret, 1 config."""

    kind: int
    version: int
    task: str
    object_id: str
    target: str


class Opened(NamedTuple):
    """One open. ``number`` is its first slot's, ``next`` that of the record after it."""

    number: int
    next: int
    time_ns: int
    thread: int
    uid: int
    gid: int
    repeated: bool
    subject: Subject


def subject_slots(subject: Subject) -> tuple[bytes, ...]:
    """The subject as the parts of it that one slot after the other holds, each filled up with zeros."""
    target = subject.target.encode("utf-8", "surrogateescape")
    size = _SUBJECT.size + len(target)
    names = (subject.task.encode(), subject.object_id.encode())
    whole = _SUBJECT.pack(size, subject.kind, subject.version, *names) + target
    rest = range(_FIRST_BYTES, size, _MORE_BYTES)
    return (whole[:_FIRST_BYTES], *(whole[at : at + _MORE_BYTES] for at in rest))


def slot_at(number: int) -> int:
    """Offset of a slot."""
    return HEADER_BYTES + number % SLOTS * SLOT_BYTES


def put_more(ring: memoryview, number: int, part: bytes) -> None:
    """Write a slot in which the subject goes on."""
    _MORE.pack_into(ring, slot_at(number), number, part)


def read(ring: memoryview, number: int, head: int) -> Opened:
    """The record that begins in this slot. Raises LinkError when there is none that is whole before ``head``."""
    found, time_ns, thread, uid, gid, flags, part = SLOT.unpack_from(ring, slot_at(number))
    size = _SUBJECT.unpack_from(part)[0]
    end = number + 1 + max(0, -(-(size - _FIRST_BYTES) // _MORE_BYTES))
    if found != number or end > head or not _SUBJECT.size <= size <= _SUBJECT.size + _MAX_TARGET_BYTES:
        raise LinkError(f"slot {number} of the ring of opens holds no record")
    whole = part + b"".join(_goes_on(ring, more) for more in range(number + 1, end))
    subject = _subject(whole[:size])
    return Opened(number, end, time_ns, thread, uid, gid, bool(flags & REPEATED), subject)


def read_all(ring: memoryview, number: int, head: int, *, most: int) -> Iterator[Opened | None]:
    """Up to ``most`` records from a slot on; None for a slot that holds none, and is left out."""
    last = number + most
    while number < min(head, last):
        for opened in _read_short(ring, number, min(head, last)):
            yield opened
            number += 1
        if number < min(head, last):
            try:
                opened = read(ring, number, head)
            except LinkError:
                number += 1
                yield None
            else:
                last += opened.next - number - 1
                number = opened.next
                yield opened


def _read_short(ring: memoryview, number: int, end: int) -> Iterator[Opened]:
    """The records of one slot each, up to one that is not, to ``end`` or to the end of the ring."""
    end = min(end, number - number % SLOTS + SLOTS)
    slots = ring[slot_at(number) : slot_at(end - 1) + SLOT_BYTES]
    for found, time_ns, thread, uid, gid, flags, part in SLOT.iter_unpack(slots):
        subject = _whole(part)
        if found != number or subject is None:
            return
        number += 1
        yield Opened(found, number, time_ns, thread, uid, gid, flags & REPEATED != 0, subject)


def _goes_on(ring: memoryview, number: int) -> bytes:
    found, part = _MORE.unpack_from(ring, slot_at(number))
    if found != number:
        raise LinkError(f"slot {number} of the ring of opens is of another record")
    more: bytes = part
    return more


@lru_cache(_KNOWN_SUBJECTS)
def _whole(part: bytes) -> Subject | None:
    """The subject of which a slot holds all, if it does. A task opens the same ones again and again."""
    size = _SUBJECT.unpack_from(part)[0]
    try:
        return _subject(part[:size]) if _SUBJECT.size <= size <= _FIRST_BYTES else None
    except LinkError:
        return None


def _subject(whole: bytes) -> Subject:
    _, kind, version, task, object_id = _SUBJECT.unpack_from(whole)
    target = whole[_SUBJECT.size :].decode("utf-8", "surrogateescape")
    try:
        return Subject(kind, version, task.decode("ascii"), object_id.decode("ascii"), target)
    except UnicodeDecodeError as exc:
        raise LinkError("a record of the ring of opens has an ID that is not ASCII") from exc
