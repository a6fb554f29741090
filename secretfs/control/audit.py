"""Who did what. Rule: a record is an operation of the same commit as the act, so there is never one without
the other.

A record names things and holds no value. Its key is the time in nanoseconds, so records sort by when they
were written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from secretfs.control import log
from secretfs.control.records.codec import decode, encode, everything
from secretfs.errors import CorruptRecordError
from secretfs.store.base import Put, Store

PREFIX: Final = "audit/"


@dataclass(frozen=True, slots=True)
class Caller:
    """The peer that asks, as the kernel names it when it connected."""

    uid: int
    gid: int
    pid: int


class AuditRecord(msgspec.Struct, frozen=True):
    """One act. ``action`` is what a person would type: ``secret create``, ``service update``, ``task
    attach``.
    """

    time_ns: int
    action: str
    kind: str  # secret, config, service or task
    id: str
    name: str
    uid: int
    pid: int
    detail: Mapping[str, object] = {}


def put(record: AuditRecord, random: bytes) -> Put:
    """The operation that writes the record; random bytes tell two records of one nanosecond apart."""
    return Put(f"{PREFIX}{record.time_ns:020d}-{random.hex()}", encode(record))


async def records(store: Store) -> list[AuditRecord]:
    """All records, oldest first; damaged ones are named in the log and left out."""
    found = []
    for item in (await everything(store, PREFIX)).items:
        try:
            found.append(decode(item, AuditRecord))
        except CorruptRecordError:
            log.error("a record is damaged", key=item.key)
    return found
