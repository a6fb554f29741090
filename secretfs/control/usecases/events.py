"""What was done, told to whoever listens. Rule (Docker's): the last of it is kept in memory, as long as the process.

Who does not listen as fast as things happen is let go: nobody waits for a listener, and no listener costs more than a
number of references.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

KEPT: Final = 256  # moby daemon/events/events.go: eventsLimit
BEHIND: Final = 1024  # events that a listener may be late


@dataclass(frozen=True, slots=True)
class Event:
    """An act that was committed. ``changes`` says of a field what it was and what it is; a task has the rest."""

    time_ns: int
    kind: str
    verb: str
    id: str
    name: str
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pid: int = 0
    reason: str = ""


Heard = trio.MemoryReceiveChannel[Event]


class Events:
    """The last events, and the listeners."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._listeners: set[trio.MemorySendChannel[Event]] = set()

    def tell(self, event: Event) -> None:
        """Keep it, and let the listeners have it."""
        self._kept.append(event)
        for listener in list(self._listeners):
            try:
                listener.send_nowait(event)
            except trio.WouldBlock:
                self._let_go(listener)

    @contextmanager
    def listening(self) -> Iterator[tuple[list[Event], Heard]]:
        """What was kept until now, and a channel of all from now on; it ends when its listener is too late."""
        sender, heard = trio.open_memory_channel[Event](BEHIND)
        self._listeners.add(sender)
        try:
            with heard:
                yield list(self._kept), heard
        finally:
            self._let_go(sender)

    def _let_go(self, listener: trio.MemorySendChannel[Event]) -> None:
        self._listeners.discard(listener)
        listener.close()
