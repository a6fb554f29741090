"""Records as JSON. Rule: a record that cannot be read is a CorruptRecordError that names its key, and
nothing of it is served.
"""

from typing import TypeVar

import msgspec

from secretfs.control import log
from secretfs.errors import CorruptRecordError
from secretfs.store.base import Item, Listing, Store

T = TypeVar("T")
_PAGE = 1000
_ENCODER = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """The bytes of a record."""
    return _ENCODER.encode(value)


def decode(item: Item, kind: type[T]) -> T:
    """What the record holds. Raises: CorruptRecordError."""
    try:
        return msgspec.json.decode(item.value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise corrupt(item.key) from None


def corrupt(key: str) -> CorruptRecordError:
    """The error that names a damaged record."""
    return CorruptRecordError(f"record {key!r} is damaged: nothing is served from it")


async def everything(store: Store, prefix: str) -> Listing:
    """All records below the prefix, of all pages; the damaged ones are named in the log as well."""
    items: list[Item] = []
    damaged: list[str] = []
    after = ""
    while True:
        page = await store.list(prefix, after, _PAGE)
        items += page.items
        damaged += page.damaged
        if len(page.items) + len(page.damaged) < _PAGE:
            break
        after = max((*(item.key for item in page.items), *page.damaged), key=str.encode)
    for key in damaged:
        log.error("a record is damaged", key=key)
    return Listing(tuple(items), tuple(damaged), page.rev)
