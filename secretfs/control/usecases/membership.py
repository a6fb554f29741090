"""Leaving the swarm and making another. Rule: what was left cannot be read again, whatever happens in between.

The commit that leaves replaces the keyring: from then on no value opens. Then trees are flushed and records removed; a
control that is killed over that does the rest when it starts, before it shows anything.
"""

from typing import Final

import msgspec

from secretfs.control.audit import Caller
from secretfs.control.keys import Keys
from secretfs.control.records.cluster import KEYRING, keyring_item
from secretfs.control.records.codec import encode, everything
from secretfs.control.records.lookup import every
from secretfs.control.records.networks import NETWORKS
from secretfs.control.records.objects import OBJECTS, ciphertext_key, wrapped_key_key
from secretfs.control.records.services import SERVICES
from secretfs.control.records.swarm import NODE, SWARM, NodeRecord, fresh_swarm, swarm_record
from secretfs.control.records.tasks import TASKS
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.control.usecases.node import ACTIVE
from secretfs.control.usecases.swarm import NAME
from secretfs.control.usecases.tasks import Tasks
from secretfs.core.plan import VersionRef
from secretfs.crypto.keyring import Keyring
from secretfs.crypto.lock import OpenKeyring, UnlockKey
from secretfs.errors import UnavailableError
from secretfs.store.base import Del, Guard, Op, Put, Store
from secretfs.store.turn import Turn

_PREFIXES: Final = (
    *(noun.key("") for noun in OBJECTS.values()),
    SERVICES.key(""),
    NETWORKS.key(""),
    TASKS.key(""),
    "refs/",
    "name/",
)
_BATCH: Final = 1000  # operations of a commit
_NOT_PART: Final = "This node is not part of a swarm"
_ALREADY: Final = (
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.'
)
_LAST: Final = (
    "You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager "
    "erases all current state of the swarm. Use `--force` to ignore this message. "
)
_LOCKED: Final = "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."


class Membership:
    """Whether this node is a swarm."""

    def __init__(self, commits: Commits, keys: Keys, tasks: Tasks) -> None:
        self._commits = commits
        self._store = commits.store
        self._keys = keys
        self._tasks = tasks
        self._turn = Turn()  # what one erases is nothing that another has made meanwhile

    def check_outside(self) -> None:
        """Raises: UnavailableError, with Docker's text, unless the swarm was left."""
        if not self._keys.left:
            raise UnavailableError(_ALREADY)

    async def leave(self, caller: Caller, *, force: bool) -> None:
        """Flush every task and forget everything but the audit. Raises: UnavailableError, StoreError."""
        async with self._turn:
            if self._keys.left:
                raise UnavailableError(_NOT_PART)
            if not force:
                raise UnavailableError(_LOCKED if self._keys.locked else _LAST)
            self._keys.leave(await self._commits.change(caller, self._left))
            await self._tasks.detach_all("the swarm was left", caller)
            await erase(self._store)

    async def init(self, caller: Caller, *, autolock: bool, availability: str) -> None:
        """Be a swarm again, with nothing in it. Raises: UnavailableError, StoreError."""

        async def decide() -> Change[OpenKeyring]:
            self.check_outside()
            item = await keyring_item(self._store)
            found = await swarm_record(self._store, self._commits.now_ns())
            opened = OpenKeyring(Keyring.fresh(), UnlockKey.fresh() if autolock else None)
            now = self._commits.now_ns()
            puts = [self._keyring(opened), Put(SWARM, encode(fresh_swarm(now)))]
            if availability != ACTIVE:
                puts.append(Put(NODE, encode(NodeRecord(now, {}, availability))))
            guards = [Guard(KEYRING, item.rev), Guard(SWARM, found.rev)]
            return Change(guards, puts, self._act("init", Autolock=autolock), opened)

        async with self._turn:
            self.check_outside()
            await erase(self._store)
            self._keys.enter(await self._commits.change(caller, decide))

    async def _left(self) -> Change[OpenKeyring]:
        item = await keyring_item(self._store)
        found = await swarm_record(self._store, self._commits.now_ns())
        opened = OpenKeyring(Keyring.fresh())
        record = msgspec.structs.replace(found.value, left=True)
        ops: list[Op] = [self._keyring(opened), Put(SWARM, encode(record)), Del(NODE)]
        return Change([Guard(KEYRING, item.rev), Guard(SWARM, found.rev)], ops, self._act("leave"), opened)

    def _keyring(self, opened: OpenKeyring) -> Put:
        return Put(KEYRING, self._keys.sealed(opened), erase=True)

    def _act(self, verb: str, **detail: object) -> Act:
        return Act(f"swarm {verb}", "swarm", self._keys.cluster_id, NAME, detail)


async def erase(store: Store) -> None:
    """Remove all objects, services, networks and tasks, and all values. Raises: StoreError."""
    values: list[Op] = []
    for noun in OBJECTS.values():
        for found in await every(store, noun):
            contents = (VersionRef(found.value.id, version.number) for version in found.value.versions)
            values += [Del(key) for content in contents for key in (wrapped_key_key(content), ciphertext_key(content))]
    await _removed(store, values)
    for prefix in _PREFIXES:
        listing = await everything(store, prefix)
        await _removed(store, [Del(key) for key in (*(item.key for item in listing.items), *listing.damaged)])


async def _removed(store: Store, ops: list[Op]) -> None:
    for start in range(0, len(ops), _BATCH):
        await store.commit([], ops[start : start + _BATCH])
