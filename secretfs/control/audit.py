"""Who did what. Rule: a record is an operation of the same commit as the act, so there is never one without the other.

A record names things and holds no value. Records are kept in rows, ``tag [32] | records as JSON`` (``chain.py`` says
what the tag proves), under their numbers.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import trio

from secretfs.control import log
from secretfs.control.records.codec import corrupt
from secretfs.errors import CorruptRecordError
from secretfs.store.base import Item, Store

PREFIX: Final = "audit/"
TAG_BYTES: Final = 32
_PAGE: Final = 200
_LOOKED_AT_BYTES: Final = 8 << 20  # and rows: for one that is looked for from the end
_LOOKED_AT_ROWS: Final = 2048
_LOOKED_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """The peer that asks, as the kernel names it when it connected."""

    uid: int
    gid: int
    pid: int


class AuditRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One act. ``action`` is what a person would type: ``secret create``, ``service update``, ``task attach``; or
    ``open``.

    ``again``: so many ns later the same was done again, and again; only as it is stored, see ``decoded``.
    """

    time_ns: int
    action: str
    kind: str  # secret, config, service or task
    id: str
    name: str
    uid: int
    pid: int
    detail: Mapping[str, object] = {}
    again: Sequence[int] = ()


_RECORDS: Final = msgspec.json.Decoder(list[AuditRecord])


def row_key(number: int) -> str:
    """Rows sort by their number."""
    return f"{PREFIX}{number:020d}"


def number_of(item: Item) -> int:
    """The number of a row. Raises: CorruptRecordError, for a key that is none's."""
    digits = item.key.removeprefix(PREFIX)
    if not digits.isdecimal():
        raise corrupt(item.key)
    return int(digits)


def decoded(item: Item) -> list[AuditRecord]:
    """The records of a row, each act for itself: there may be thousands. Raises: CorruptRecordError."""
    found = _stored(item)
    if not any(record.again for record in found):
        return found
    return sorted((act for record in found for act in _acts(record)), key=_time_ns)


def counted(item: Item) -> tuple[int, int]:
    """How many acts a row holds, and when the last of them was: in a twentieth of the time. Raises: as decoded."""
    found = _stored(item)
    newest = max((record.time_ns + max((0, *record.again)) for record in found), default=0)
    return sum(1 + len(record.again) for record in found), newest


def _stored(item: Item) -> list[AuditRecord]:
    try:
        return _RECORDS.decode(memoryview(item.value)[TAG_BYTES:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise corrupt(item.key) from None


def _acts(record: AuditRecord) -> Iterator[AuditRecord]:
    same = record.action, record.kind, record.id, record.name, record.uid, record.pid, record.detail
    yield AuditRecord(record.time_ns, *same)
    for later in record.again:
        yield AuditRecord(record.time_ns + later, *same)


def _time_ns(record: AuditRecord) -> int:
    return record.time_ns


async def rows(store: Store, after: int = -1) -> AsyncIterator[tuple[int, list[AuditRecord]]]:
    """The rows behind that number, the oldest first; damaged ones are named in the log and left out."""
    key = row_key(after) if after >= 0 else ""
    while True:
        page = await store.list(PREFIX, key, _PAGE)
        for damaged in page.damaged:
            log.error("a record is damaged", key=damaged)
        for item in page.items:
            await trio.lowlevel.checkpoint()
            try:
                yield number_of(item), decoded(item)
            except CorruptRecordError:
                log.error("a record is damaged", key=item.key)
        if len(page.items) + len(page.damaged) < _PAGE:
            return
        key = max((*(item.key for item in page.items), *page.damaged))


async def newest(store: Store, end: int, kind: str, object_id: str) -> AuditRecord | None:
    """The last record of an object before row ``end``, if it is among the last rows there."""
    left = _LOOKED_AT_BYTES
    for stop in range(end, max(0, end - _LOOKED_AT_ROWS), -_LOOKED_AT_ONCE):
        first = max(0, stop - _LOOKED_AT_ONCE)
        page = await store.list(PREFIX, row_key(first - 1) if first else "", stop - first)
        for item in reversed(page.items):
            left -= len(item.value)
            with contextlib.suppress(CorruptRecordError):
                for record in reversed(decoded(item) if object_id.encode() in item.value else ()):
                    if (record.kind, record.id) == (kind, object_id):
                        return record
        if left <= 0:
            break
    return None


async def records(store: Store) -> list[AuditRecord]:
    """All records, the oldest first."""
    return [record async for _, row in rows(store) for record in row]
