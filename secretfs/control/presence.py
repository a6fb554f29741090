"""What somebody waits for, and what of it is not there yet. Rule: who waits is woken by a change, and asks nothing
meanwhile.
"""

from collections.abc import Sequence
from typing import Final

import trio

from secretfs.control.records.lookup import Noun, T, by_id, by_name
from secretfs.control.records.objects import OBJECTS
from secretfs.control.records.services import SERVICES
from secretfs.core.names import Kind, is_id
from secretfs.store.base import Store

MAX_WAITING: Final = 32  # connections; the others are answered at once, and have to ask again
MAX_SECONDS: Final = 20.0  # below the silence that the command line bears


class Presence:
    """Secrets and services, as far as they are there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places = trio.CapacityLimiter(MAX_WAITING)

    async def missing(self, service: str | None, secrets: Sequence[str], seconds: float) -> list[str]:
        """What is missing, in words, when nothing is or the time is over. With a service: what that is not granted.

        Raises: CorruptRecordError, StoreError.
        """
        found: list[str] = []
        try:
            with trio.move_on_after(min(max(seconds, 0), MAX_SECONDS)):
                async with _Place(self._places):
                    while True:
                        rev = (await self._store.list("", limit=1)).rev
                        found = await self._missing(service, secrets)
                        if not found:
                            return []
                        await self._store.watch("", rev)
        except trio.WouldBlock:
            return await self._missing(service, secrets)
        return found or await self._missing(service, secrets)

    async def _missing(self, service: str | None, secrets: Sequence[str]) -> list[str]:
        ids = {name: await self._id(name) for name in secrets}
        missing = [f"secret {name}" for name, object_id in ids.items() if object_id is None]
        if service is None:
            return missing
        found = await _named(self._store, SERVICES, service)
        if found is None:
            return [f"service {service}", *missing]
        granted = {grant.object_id for grant in found.grants if grant.kind is Kind.SECRET}
        return missing + [
            f"secret {name} of service {service}"
            for name, object_id in ids.items()
            if object_id is not None and object_id not in granted
        ]

    async def _id(self, name: str) -> str | None:
        found = await _named(self._store, OBJECTS[Kind.SECRET], name)
        return found.id if found else None


async def _named(store: Store, noun: Noun[T], name: str) -> T | None:
    """By its name or whole id: the start of an id may become another's."""
    found = await by_name(store, noun, name)
    if found is None and is_id(name):
        found = await by_id(store, noun, name)
    return found.value if found else None


class _Place:
    """One of the limiter's, or WouldBlock."""

    def __init__(self, places: trio.CapacityLimiter) -> None:
        self._places = places

    async def __aenter__(self) -> None:
        self._places.acquire_on_behalf_of_nowait(self)

    async def __aexit__(self, *_exc: object) -> None:
        self._places.release_on_behalf_of(self)
