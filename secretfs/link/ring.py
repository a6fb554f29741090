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
_RECORD: Final = struct.Struct("<QQ176s")  # the same: number, time, all the rest
_WHO: Final = struct.Struct("<IIII")  # the rest: these, and the subject
_MORE: Final = struct.Struct("<Q184s")
_SUBJECT: Final = struct.Struct("<HBI25s25s")
_FIRST_BYTES: Final = 160
_MORE_BYTES: Final = 184
_MAX_TARGET_BYTES: Final = 4096  # PATH_MAX
_KINDS: Final = 2


class Subject(NamedTuple):
    """What was opened; kind 0 secret, 1 config."""

    kind: int
    version: int
    task: str
    object_id: str
    target: str


class Opened(NamedTuple):
    """Who opened what: all of an open but its time."""

    thread: int
    uid: int
    gid: int
    repeated: bool
    subject: Subject


Gathered = dict[bytes, list[int]]
"""For each that is the same in all but its time, as ``opened`` takes it: the times, ns since 1970, in order."""


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


def read(ring: memoryview, number: int, head: int) -> tuple[int, bytes, int]:
    """Time, all the rest as ``opened`` takes it, and the slot after it, of the record that begins in this slot.

    Raises LinkError when there is none that is whole before ``head``.
    """
    found, time_ns, same = _RECORD.unpack_from(ring, slot_at(number))
    size = _SUBJECT.unpack_from(same, _WHO.size)[0]
    end = number + 1 + max(0, -(-(size - _FIRST_BYTES) // _MORE_BYTES))
    if found != number or end > head or not _SUBJECT.size <= size <= _SUBJECT.size + _MAX_TARGET_BYTES:
        raise LinkError(f"slot {number} of the ring of opens holds no record")
    same += b"".join(_goes_on(ring, more) for more in range(number + 1, end))
    opened(same)
    return time_ns, same, end


def opened(same: bytes) -> Opened:
    """What a record says. Raises LinkError."""
    thread, uid, gid, flags = _WHO.unpack_from(same)
    size, kind, version, task, object_id = _SUBJECT.unpack_from(same, _WHO.size)
    if kind >= _KINDS:
        raise LinkError(f"a record of the ring of opens has kind {kind}")
    target = same[_WHO.size + _SUBJECT.size : _WHO.size + size].decode("utf-8", "backslashreplace")  # always a text
    try:
        subject = Subject(kind, version, task.decode("ascii"), object_id.decode("ascii"), target)
    except UnicodeDecodeError as exc:
        raise LinkError("a record of the ring of opens has an ID that is not ASCII") from exc
    return Opened(thread, uid, gid, flags & REPEATED != 0, subject)


def gather(ring: memoryview, number: int, head: int, found: Gathered, *, end: int) -> tuple[int, int]:
    """Add the records that begin in a slot from one on and before ``end``; the slot that comes next, and how many
    slots held no record and were left out.
    """
    left_out = 0
    end = min(head, end)
    while number < end:
        number = _gather_short(ring, number, end, found)
        if number < end:
            try:
                time_ns, same, number = read(ring, number, head)
            except LinkError:
                number += 1
                left_out += 1
            else:
                found.setdefault(same, []).append(time_ns)
    return number, left_out


def _gather_short(ring: memoryview, number: int, end: int, found: Gathered) -> int:
    """The records of one slot each, up to one that is not, to ``end`` or to the end of the ring. A task opens the same
    again and again, so there is no more here than has to be done for each open.
    """
    end = min(end, number - number % SLOTS + SLOTS)
    for at, time_ns, same in _RECORD.iter_unpack(ring[slot_at(number) : slot_at(end - 1) + SLOT_BYTES]):
        if at != number:
            break
        times = found.get(same)
        if times is None:
            if not _is_short(same):
                break
            times = found[same] = []
        times.append(time_ns)
        number += 1
    return number


def _is_short(same: bytes) -> bool:
    try:
        opened(same)
    except LinkError:
        return False
    return bool(_SUBJECT.size <= _SUBJECT.unpack_from(same, _WHO.size)[0] <= _FIRST_BYTES)


def _goes_on(ring: memoryview, number: int) -> bytes:
    found, part = _MORE.unpack_from(ring, slot_at(number))
    if found != number:
        raise LinkError(f"slot {number} of the ring of opens is of another record")
    more: bytes = part
    return more
