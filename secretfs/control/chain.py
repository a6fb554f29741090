"""The audit as a chain that shows what was done to it. Rule: a row says what happened, and proves what was before it.

A row is ``tag [32] | records as JSON``, at ``audit/NUMBER``. Its tag is HMAC-SHA256 over the tag of the row before, its
own number and its records; the head says which rows there are and has a tag of its own. The key comes from the root
key, so the chain grows also while the store is locked, and nobody can mend it who has the store alone. Whoever has the
root key as well can; and who puts back an old copy of the whole store shows an old audit that fits.
"""

import hmac
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import msgspec
import trio

from secretfs.control import log
from secretfs.control.audit import PREFIX, TAG_BYTES, AuditRecord, counted, number_of, row_key
from secretfs.control.records.codec import decode, encode
from secretfs.errors import CorruptRecordError, UnavailableError
from secretfs.link.spawn import AUDIT_BYTES, AUDIT_SECONDS
from secretfs.store.base import Del, Guard, Item, Op, Put, Store

HEAD: Final = "audithead"
NO_TAG: Final = bytes(TAG_BYTES)  # before the first row ever
_HASH: Final = "sha256"
_PAGE: Final = 500
_LEGACY_ROW: Final = 500  # records of an older version in one row
_LEGACY_FROM: Final = row_key(10**15)  # their keys are ``audit/TIME-RANDOM``
_TRIM_ROWS: Final = 2000  # at most, in one commit
_TRIM_PAGE: Final = 32
_TRIM_TO: Final = 0.9  # of the most bytes, so that not every commit trims


class Head(msgspec.Struct, frozen=True):
    """Rows ``first`` .. ``next`` - 1 are there; ``base`` is the tag before the first, ``tag`` that of the last.

    ``ring``, ``slot``, ``lost``: how far the opens of which ring are in it (``opens.py``). ``broken``: since when, and
    why, the chain is not what it was; nothing takes that back.
    """

    first: int = 0
    next: int = 0
    base: bytes = NO_TAG
    tag: bytes = NO_TAG
    size: int = 0  # bytes of all rows
    ring: bytes = b""
    slot: int = 0
    lost: int = 0
    broken: str = ""


class _Kept(msgspec.Struct, frozen=True):
    """The record of the head."""

    head: msgspec.Raw
    tag: bytes


@dataclass(frozen=True, slots=True)
class Linked:
    """What a commit has to add for its records, and the head once it is done."""

    guards: tuple[Guard, ...]
    ops: tuple[Op, ...]
    head: Head


@dataclass(frozen=True, slots=True)
class Verdict:
    """``records`` fit; ``broken`` says where the first is that does not, and is empty when all do."""

    records: int
    rows: int
    tag: bytes
    broken: str = ""


class Chain:
    """The one writer's end: what is not committed is forgotten, and the next is linked to what was."""

    def __init__(self, key: bytes, *, most_bytes: int = AUDIT_BYTES, most_seconds: int = AUDIT_SECONDS) -> None:
        self._key = key
        self._most_bytes = most_bytes
        self._most_ns = most_seconds * 10**9
        self._rev = 0
        self.head = Head()
        self.too_much = trio.Event()  # it is larger than it may be

    async def load(self, store: Store) -> None:
        """Take up the chain; what a version kept that had none is linked now. Raises: StoreError."""
        self.head, self._rev = await self._found(store)
        while legacy := (await store.list(PREFIX, _LEGACY_FROM, _LEGACY_ROW)).items:
            linked = self.linked([record for item in legacy for record in _legacy(item)])
            rev = await store.commit(linked.guards, [*linked.ops, *(Del(item.key) for item in legacy)])
            if not isinstance(rev, int):
                raise UnavailableError("the audit is written by somebody else as well")
            self.done(linked, rev)

    def linked(self, records: Sequence[AuditRecord], **ring: int | bytes) -> Linked:
        """The next row. ``ring`` are fields of the head that change with it."""
        payload = encode(records)
        tag = self.tag(self.head.tag, self.head.next, payload)
        row = tag + payload
        fields = {"next": self.head.next + 1, "tag": tag, "size": self.head.size + len(row), **ring}
        head = msgspec.structs.replace(self.head, **fields)
        return Linked((Guard(HEAD, self._rev),), (Put(row_key(self.head.next), row), self._put(head)), head)

    def done(self, linked: Linked, rev: int) -> None:
        """It was committed, as this revision."""
        self.head, self._rev = linked.head, rev
        if linked.head.size > self._most_bytes:
            self.too_much.set()

    async def trimmed(self, store: Store) -> Linked | None:
        """What removes the oldest rows, and says so, when there are too many or they are too old."""
        horizon = time.time_ns() - self._most_ns
        head, goal = self.head, int(self._most_bytes * _TRIM_TO)
        if head.next - head.first < 2:
            return None
        over = head.size > self._most_bytes
        gone: list[Item] = []
        size = count = 0
        oldest = _rows(store, head.first, min(head.next - 1, head.first + _TRIM_ROWS))
        async with aclosing(oldest):
            async for item in oldest:
                acts, newest_ns = counted(item)
                if not (over and head.size - size > goal) and newest_ns >= horizon:
                    break
                gone.append(item)
                size += len(item.value)
                count += acts
                await trio.lowlevel.checkpoint()
        if not gone:
            return None
        detail = {"Records": count, "Bytes": size}
        record = AuditRecord(time.time_ns(), "audit trim", "audit", "", "", 0, 0, detail)
        linked = self.linked([record])
        kept = msgspec.structs.replace(
            linked.head,
            first=number_of(gone[-1]) + 1,
            base=gone[-1].value[:TAG_BYTES],
            size=linked.head.size - size,
        )
        ops = (linked.ops[0], self._put(kept), *(Del(item.key) for item in gone))
        return Linked(linked.guards, ops, kept)

    def tag(self, before: bytes, number: int, payload: bytes) -> bytes:
        """Of a row."""
        return hmac.digest(self._key, before + number.to_bytes(8, "little") + payload, _HASH)

    async def verified(self, store: Store) -> Verdict:
        """Go through all rows, from the first to the head as it is now. Raises: StoreError."""
        while True:
            head = self.head
            verdict = await self._verified(store, head)
            if not verdict.broken or self.head.first == head.first:
                return verdict

    async def _verified(self, store: Store, head: Head) -> Verdict:
        item = await store.get(HEAD)
        if item is None or self._unsealed(item) is None:
            return Verdict(0, 0, NO_TAG, "the head of the audit is not the daemon's")
        if head.broken:
            return Verdict(0, 0, NO_TAG, head.broken)
        records, tag, number = 0, head.base, head.first
        while number < head.next:
            listing = await store.list(PREFIX, row_key(number - 1) if number else "", min(_PAGE, head.next - number))
            for item in listing.items:
                broken = self._fault(item, number, tag)
                if broken:
                    return Verdict(records, number - head.first, tag, broken)
                records, tag, number = records + counted(item)[0], item.value[:TAG_BYTES], number + 1
                await trio.lowlevel.checkpoint()
            if listing.damaged or not listing.items:
                return Verdict(records, number - head.first, tag, f"row {number} is damaged or is not there")
        fits = hmac.compare_digest(tag, head.tag)
        return Verdict(
            records, number - head.first, tag, "" if fits else f"row {number - 1} is not the last one written"
        )

    def _fault(self, item: Item, number: int, before: bytes) -> str:
        if item.key != row_key(number):
            return f"row {number} is not there: {item.key} is"
        if not hmac.compare_digest(self.tag(before, number, item.value[TAG_BYTES:]), item.value[:TAG_BYTES]):
            return f"row {number} was changed, or what is before it"
        return ""

    def _put(self, head: Head) -> Put:
        raw = encode(head)
        return Put(HEAD, encode(_Kept(msgspec.Raw(raw), hmac.digest(self._key, HEAD.encode() + raw, _HASH))))

    async def _found(self, store: Store) -> tuple[Head, int]:
        """The head and its revision. Without the one that was written, what is there proves nothing any more: the
        chain goes on behind it, and says so for ever.
        """
        try:
            item = await store.get(HEAD)
        except CorruptRecordError:
            await store.commit([], [Del(HEAD)])
            item = None
        head = self._unsealed(item) if item else None
        if item is not None and head is not None:
            return head, item.rev
        last = -1
        while page := (await store.list(PREFIX, row_key(last) if last >= 0 else "", _PAGE)).items:
            numbers = [number_of(found) for found in page if found.key < _LEGACY_FROM]
            if not numbers:
                break
            last = numbers[-1]
        if item is None and last < 0:
            return Head(), 0
        broken = f"the head of the audit was lost or changed: rows up to {last} prove nothing"
        log.error("the audit is broken: see 'secretfs audit verify'", error=broken)
        return Head(first=last + 1, next=last + 1, broken=broken), item.rev if item else 0

    def _unsealed(self, item: Item) -> Head | None:
        try:
            kept = msgspec.json.decode(item.value, type=_Kept)
            if not hmac.compare_digest(hmac.digest(self._key, HEAD.encode() + bytes(kept.head), _HASH), kept.tag):
                return None
            return msgspec.json.decode(kept.head, type=Head)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


async def _rows(store: Store, first: int, end: int) -> AsyncGenerator[Item, None]:
    """A few at a time, as a row may be large and few may be enough."""
    while first < end:
        page = await store.list(PREFIX, row_key(first - 1) if first else "", min(_TRIM_PAGE, end - first))
        for item in page.items:
            yield item
        if not page.items:
            return
        first += _TRIM_PAGE


def _legacy(item: Item) -> list[AuditRecord]:
    try:
        return [decode(item, AuditRecord)]
    except CorruptRecordError:
        log.error("a record is damaged", key=item.key)
        return []
