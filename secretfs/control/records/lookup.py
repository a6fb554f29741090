"""How an object is found. Rule (Docker's): the full id, then the exact name without regard to case, then an
id prefix.

A damaged record is an error for who asks for it, and is left out of a list and named in the log.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from secretfs.control import log
from secretfs.control.records.codec import corrupt, decode, everything
from secretfs.core.names import folded, is_id
from secretfs.errors import AmbiguousError, CorruptRecordError, NotFoundError
from secretfs.store.base import Item, Store

T = TypeVar("T")
_REFERENCE = re.compile(r"[a-zA-Z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Noun(Generic[T]):
    """A kind of record that people name."""

    word: str
    type: type[T]

    def key(self, object_id: str) -> str:
        """Where the object of that id is; with no id, the prefix of all."""
        return f"{self.word}/{object_id}"

    def name_key(self, name: str) -> str:
        """Where the id of that name is."""
        return f"name/{self.word}/{folded(name)}"


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a record holds, and the revision that a guard on it needs."""

    value: T
    rev: int


async def by_id(store: Store, noun: Noun[T], object_id: str) -> Found[T] | None:
    """The object of that whole id. Raises: CorruptRecordError."""
    item = await store.get(noun.key(object_id))
    return None if item is None else Found(_decoded(item, noun), item.rev)


async def by_name(store: Store, noun: Noun[T], name: str) -> Found[T] | None:
    """The object of that name, without regard to case. Raises: CorruptRecordError."""
    item = await store.get(noun.name_key(name))
    return None if item is None else await by_id(store, noun, decode(item, str))


async def find(store: Store, noun: Noun[T], reference: str) -> Found[T]:
    """The one object that the reference means. Raises: NotFoundError, AmbiguousError, CorruptRecordError."""
    if _REFERENCE.fullmatch(reference) is None:
        raise not_found(noun, reference)
    found = await by_id(store, noun, reference) if is_id(reference) else None
    found = found or await by_name(store, noun, reference)
    return found or await _by_prefix(store, noun, reference)


async def every(store: Store, noun: Noun[T]) -> list[Found[T]]:
    """All objects of the noun that can be read, in the order of their ids."""
    return list(_readable((await everything(store, noun.key(""))).items, noun))


def not_found(noun: Noun[T], reference: str) -> NotFoundError:
    """Docker's text."""
    return NotFoundError(f"{noun.word} {reference} not found")


async def _by_prefix(store: Store, noun: Noun[T], prefix: str) -> Found[T]:
    matches = await _keys(store, noun.key(prefix))
    if not matches:
        raise not_found(noun, prefix)
    if len(matches) > 1:
        raise AmbiguousError(f"{noun.word} {prefix} is ambiguous ({len(matches)} matches found)")
    found = await by_id(store, noun, matches[0].removeprefix(noun.key("")))
    if found is None:  # removed since it was listed
        raise not_found(noun, prefix)
    return found


async def _keys(store: Store, prefix: str) -> list[str]:
    listing = await everything(store, prefix)
    return [*(item.key for item in listing.items), *listing.damaged]


def _readable(items: Iterable[Item], noun: Noun[T]) -> Iterator[Found[T]]:
    for item in items:
        try:
            yield Found(_decoded(item, noun), item.rev)
        except CorruptRecordError:
            log.error("a record is damaged", key=item.key)


def _decoded(item: Item, noun: Noun[T]) -> T:
    value = decode(item, noun.type)
    if noun.key(getattr(value, "id", "")) != item.key:
        raise corrupt(item.key)
    return value
