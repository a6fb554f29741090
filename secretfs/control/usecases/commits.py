"""How a rule becomes a commit. Rule: read, decide, commit under guards on what was read; if one fails, begin again.

The act and its audit record are one commit, and every rule holds under any race. Changes of this process take turns, so
that three hundred tasks that begin with the same secret do not fail each other's guards.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from secretfs.control.audit import AuditRecord, Caller
from secretfs.control.chain import HEAD, Chain, Linked
from secretfs.control.usecases.events import Event, Events
from secretfs.core.names import ID_RANDOM_BYTES, id_from
from secretfs.errors import UnavailableError
from secretfs.store.base import Conflict, Guard, Op, Store
from secretfs.store.turn import Turn

T = TypeVar("T")
_REASON_CHARS: Final = 256  # events are kept in memory
MAX_ATTEMPTS: Final = 100  # of one commit: each failure means that somebody else's commit was done


@dataclass(frozen=True, slots=True)
class Act:
    """What the audit keeps of a change; ``changes``, what was and what is, are for who listens to events only."""

    action: str
    kind: str
    id: str
    name: str
    detail: Mapping[str, object] = field(default_factory=dict)
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """A decided change: what must still hold, what is to be written, what it is called, and what it
    results in.
    """

    guards: Sequence[Guard]
    ops: Sequence[Op]
    act: Act
    result: T


@dataclass(frozen=True, slots=True)
class Unchanged(Generic[T]):
    """The decision that there is nothing to change, and what that results in: it is no act, so it has no record."""

    result: T


class Commits:
    """The store, the clock and the dice, for the use cases."""

    def __init__(
        self,
        store: Store,
        chain: Chain,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.chain = chain
        self.now_ns = clock_ns
        self._random = random
        self._turn = Turn()
        self._loaded = False
        self.events = Events()

    def new_id(self) -> str:
        """An id nobody has."""
        return id_from(self._random(ID_RANDOM_BYTES))

    async def change(self, caller: Caller, decide: Callable[[], Awaitable[Change[T] | Unchanged[T]]]) -> T:
        """Do what decide says, with its audit record; ask it again whenever something it read has changed. It must not
        wait for anything but the store: others wait for it.

        Raises: what decide raises; StoreFullError; UnavailableError when others were quicker too often.
        """
        async with self._turn:
            for _ in range(MAX_ATTEMPTS):
                change = await decide()
                if isinstance(change, Unchanged):
                    return change.result
                record = self._record(caller, change.act)
                if await self._committed(change, record):
                    self._tell(record, change.act)
                    return change.result
        raise UnavailableError("the store is too busy: nothing was changed, try again")

    async def keep(self, records: Sequence[AuditRecord], **ring: int | bytes) -> None:
        """Keep records of what has happened by itself. ``ring``: what of the chain's head changes with them.

        Raises: StoreFullError, UnavailableError.
        """
        async with self._turn:
            for _ in range(MAX_ATTEMPTS):
                await self._load()
                if await self._linked(self.chain.linked(records, **ring)):
                    return
        raise UnavailableError("the store is too busy: no record was kept")

    async def prepared(self) -> None:
        """The chain's head is known when this returns. Raises: StoreError."""
        async with self._turn:
            await self._load()

    async def trim(self) -> bool:
        """Remove what is too much or too old of the audit; whether there was something. Raises: StoreError."""
        async with self._turn:
            await self._load()
            linked = await self.chain.trimmed(self.store)
            return linked is not None and await self._linked(linked)

    async def _committed(self, change: Change[T], record: AuditRecord) -> bool:
        await self._load()
        return await self._linked(self.chain.linked([record]), change.guards, change.ops)

    async def _load(self) -> None:
        if not self._loaded:
            await self.chain.load(self.store)
            self._loaded = True

    async def _linked(self, linked: Linked, guards: Sequence[Guard] = (), ops: Sequence[Op] = ()) -> bool:
        """Whether it was committed. Another end of the chain has written to it when the head is not as it was."""
        done = await self.store.commit([*guards, *linked.guards], [*ops, *linked.ops])
        if isinstance(done, Conflict):
            self._loaded = done.key != HEAD
            return False
        self.chain.done(linked, done)
        return True

    def _tell(self, record: AuditRecord, act: Act) -> None:
        if act.id:  # what was refused happened to nothing
            verb = act.action.removeprefix(f"{act.kind} ")
            pid, reason = act.detail.get("PID"), act.detail.get("Reason", "")
            event = Event(record.time_ns, act.kind, verb, act.id, act.name, act.changes)
            self.events.tell(replace(event, pid=pid if isinstance(pid, int) else 0, reason=str(reason)[:_REASON_CHARS]))

    def _record(self, caller: Caller, act: Act) -> AuditRecord:
        return AuditRecord(self.now_ns(), act.action, act.kind, act.id, act.name, caller.uid, caller.pid, act.detail)
