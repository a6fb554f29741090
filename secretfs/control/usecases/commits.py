"""How a rule becomes a commit. Rule: read, decide, commit under guards on what was read; if one fails, begin again.

The act and its audit record are one commit, and every rule holds under any race. Changes of this process take turns, so
that three hundred tasks that begin with the same secret do not fail each other's guards.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import trio

from secretfs.control import audit
from secretfs.control.audit import AuditRecord, Caller
from secretfs.core.names import ID_RANDOM_BYTES, id_from
from secretfs.errors import UnavailableError
from secretfs.store.base import Conflict, Guard, Op, Store

T = TypeVar("T")
MAX_ATTEMPTS: Final = 100  # of one commit: each failure means that somebody else's commit was done
_AUDIT_RANDOM_BYTES = 8


@dataclass(frozen=True, slots=True)
class Act:
    """What the audit keeps of a change."""

    action: str
    kind: str
    id: str
    name: str
    detail: Mapping[str, object] = field(default_factory=dict)


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
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.now_ns = clock_ns
        self._random = random
        self._turn = trio.Lock()

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
                done = await self.store.commit(change.guards, [*change.ops, record])
                if not isinstance(done, Conflict):
                    return change.result
        raise UnavailableError("the store is too busy: nothing was changed, try again")

    def _record(self, caller: Caller, act: Act) -> Op:
        record = AuditRecord(self.now_ns(), act.action, act.kind, act.id, act.name, caller.uid, caller.pid, act.detail)
        return audit.put(record, self._random(_AUDIT_RANDOM_BYTES))
