"""``/events``: secrets, configs, services, networks, nodes, and the tasks of services, as they change.

Docker tells of no tasks, but of the containers that they are; here they are ``task`` ``create``, ``start`` and ``die``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec
import trio

from secretfs.control.api.docker.query import filters_of
from secretfs.control.api.http import Request, Response, Write
from secretfs.control.api.router import Routes
from secretfs.control.usecases.events import Event, Events, Heard
from secretfs.control.usecases.filters import Filters
from secretfs.errors import BadRequestError, UnavailableError

MAX_LISTENING: Final = 32  # connections
_NS: Final = 10**9
_VERBS: Final = {
    "create": "create",
    "update": "update",
    "rollback": "update",
    "prune": "update",
    "rm": "remove",
    "attach": "create",
    "start": "start",
    "detach": "die",
}
_KINDS: Final = frozenset({"secret", "config", "service", "network", "node", "task"})
_FUZZY: Final = (*sorted(_KINDS), "container", "daemon", "plugin", "volume")  # by id or name, or the start of it
_ENCODER: Final = msgspec.json.Encoder()

Shown = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which events, and of when; 0: no bound."""

    filters: Filters
    since_ns: int
    until_ns: int

    @property
    def past(self) -> bool:
        """Whether what was before is asked for."""
        return bool(self.since_ns or self.until_ns)

    def has(self, event: Event) -> bool:
        """All of it must fit."""
        if event.time_ns < self.since_ns or (self.until_ns and event.time_ns > self.until_ns):
            return False
        verb = _verb(event)
        return (
            verb is not None
            and event.kind in self.filters.get("type", (event.kind,))
            and verb in self.filters.get("event", (verb,))
            and "swarm" in self.filters.get("scope", ("swarm",))
            and "image" not in self.filters
            and all(_fuzzy(self.filters[key], event) for key in _FUZZY if key in self.filters)
            and all(_labelled(text, _attributes(event)) for text in self.filters.get("label", ()))
        )


class EventRoutes:
    """The route of events."""

    def __init__(self, events: Events, now_ns: Callable[[], int]) -> None:
        self._events = events
        self._now_ns = now_ns
        self._places = trio.CapacityLimiter(MAX_LISTENING)

    def routes(self) -> Routes:
        """Where it is."""
        return {("GET", "/events"): self._follow}

    async def _follow(self, request: Request, _: str) -> Response:
        wanted = wanted_of(request)
        if self._places.available_tokens == 0:
            raise UnavailableError(f"{MAX_LISTENING} others follow the events: end one of them")
        headers = (("Content-Type", "application/json"),)
        return Response(HTTPStatus.OK, headers=headers, stream=partial(self._told, wanted))

    async def _told(self, wanted: _Wanted, write: Write) -> None:
        async with self._places:
            with self._events.listening() as (kept, heard):
                past = [event for event in kept if wanted.has(event)] if wanted.past else []
                await write(b"".join(map(_line, past)))
                left = (wanted.until_ns - self._now_ns()) / _NS if wanted.until_ns else math.inf
                with trio.move_on_after(max(left, 0)):
                    await _live(wanted, heard, write)


async def _live(wanted: _Wanted, heard: Heard, write: Write) -> None:
    async for event in heard:
        if wanted.has(event):
            await write(_line(event))


def wanted_of(request: Request) -> _Wanted:
    """Which events a query asks for. Raises: BadRequestError."""
    filters = filters_of(request)
    texts = request.query.get("since", ""), request.query.get("until", "")
    since, until = map(_ns, texts)
    if until and since > until:
        raise BadRequestError(f"`since` time ({texts[0]}) cannot be after `until` time ({texts[1]})")
    return _Wanted(filters, since, until)


def _ns(text: str) -> int:
    """``SECONDS[.NANOSECONDS]`` since 1970, as Docker's client writes it. Raises: BadRequestError."""
    seconds, _, fraction = text.partition(".")
    if not text:
        return 0
    for part in (seconds.removeprefix("-"), fraction or "0"):
        if not (part.isascii() and part.isdecimal() and len(part) < 19):
            raise BadRequestError(f'strconv.ParseInt: parsing "{part}": invalid syntax')
    return int(seconds) * _NS + int(fraction.ljust(9, "0")[:9])


def _verb(event: Event) -> str | None:
    """Docker's word; None when it is nothing for Docker's clients, as tasks without a service are not."""
    return _VERBS.get(event.verb) if event.kind in _KINDS and event.name else None


def _attributes(event: Event) -> dict[str, str]:
    changes = {
        f"{field}.{when}": text
        for field, (old, new) in event.changes.items()
        for when, text in (("new", new), ("old", old))
    }
    of_task = {"pid": str(event.pid) if event.pid else "", "reason": event.reason}
    return changes | {"name": event.name} | {key: text for key, text in of_task.items() if text}


def _fuzzy(wanted: tuple[str, ...], event: Event) -> bool:
    return any(event.id.startswith(text) or event.name.startswith(text) for text in wanted)


def _labelled(text: str, attributes: Mapping[str, str]) -> bool:
    key, equals, value = text.partition("=")
    return key in attributes and (not equals or attributes[key] == value)


def _line(event: Event) -> bytes:
    shown: Shown = {
        "Type": event.kind,
        "Action": _verb(event),
        "Actor": {"ID": event.id, "Attributes": _attributes(event)},
        "scope": "swarm",
        "time": event.time_ns // _NS,
        "timeNano": event.time_ns,
    }
    return _ENCODER.encode(shown) + b"\n"
