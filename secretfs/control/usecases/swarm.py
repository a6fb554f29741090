"""Autolock: whether the next start takes the unlock key, which one, and unlocking. Rule: no store is ever locked by a
key that nobody has seen.

So a new unlock key counts from when it was given to somebody (``crypto/lock.py``, third form). Each change is one
commit that leaves nothing of the record before on the disk.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import trio

from secretfs.control import log
from secretfs.control.audit import Caller
from secretfs.control.keys import Keys
from secretfs.control.records.cluster import KEYRING, keyring_item
from secretfs.control.records.codec import encode
from secretfs.control.records.lookup import Found
from secretfs.control.records.swarm import SWARM, SwarmRecord, fresh_token, swarm_record
from secretfs.control.usecases.commits import Act, Change, Commits, Unchanged
from secretfs.crypto.lock import OpenKeyring, UnlockKey
from secretfs.errors import ConflictError, OutOfSequenceError, SecretfsError, WrongUnlockKeyError
from secretfs.store.base import Guard, Item, Put

RETRY_SECONDS: Final = 1.0
NAME: Final = "default"  # of the swarm: Docker knows no other


@dataclass(frozen=True, slots=True)
class SwarmState:
    """What an update has to be based on; ``rev`` rises with each of them."""

    rev: int
    autolock: bool
    record: SwarmRecord


@dataclass(frozen=True, slots=True)
class Rotations:
    """What an update makes anew."""

    unlock_key: bool = False
    worker: bool = False
    manager: bool = False

    def words(self) -> dict[str, bool]:
        """For the audit."""
        asked = {"RotateUnlockKey": self.unlock_key, "RotateWorker": self.worker, "RotateManager": self.manager}
        return {word: True for word, wanted in asked.items() if wanted}


NOTHING_ANEW: Final = Rotations()


class Swarm:
    """The use cases of the lock."""

    def __init__(self, commits: Commits, keys: Keys, *, unlocked: Callable[[], Awaitable[None]]) -> None:
        """``unlocked`` shows what waited for it."""
        self._commits = commits
        self._store = commits.store
        self._unlocked = unlocked
        self._shown: tuple[Caller, UnlockKey] | None = None  # to whom, and not in the record yet
        self._was_shown = trio.Event()
        self.keys = keys

    async def state(self) -> SwarmState:
        """As it is now. Raises: LockedError, StoreError."""
        self.keys.check()
        await self._settle()
        item, found = await self._records()
        autolock = self.keys.reopened(item.value).unlock_key is not None
        return SwarmState(max(item.rev, found.rev), autolock, found.value)

    async def update(self, caller: Caller, rev: int, *, autolock: bool, rotate: Rotations = NOTHING_ANEW) -> None:
        """Switch autolock on or off as of revision rev, or make other tokens or another unlock key; with autolock off
        there is none.

        Raises: LockedError, OutOfSequenceError, StoreFullError.
        """

        async def decide() -> Change[OpenKeyring]:
            item, found = await self._records()
            if max(item.rev, found.rev) != rev:
                raise OutOfSequenceError("update out of sequence")
            old = self.keys.reopened(item.value)
            new = _updated(old, autolock=autolock, rotate=rotate.unlock_key)
            act = self._act("update", {"Autolock": autolock, **rotate.words()})
            guards = [Guard(KEYRING, item.rev), Guard(SWARM, found.rev)]
            record = _rotated(found.value, rotate, self._commits.now_ns())
            puts = [] if new is old else [self._put(new)]
            puts += [] if record is found.value else [Put(SWARM, encode(record))]
            return Change(guards, puts, act, new)

        self.keys.check()
        self.keys.replace(await self._commits.change(caller, decide))

    async def unlock_key(self, caller: Caller) -> UnlockKey | None:
        """What a person keeps; None when autolock is off. Who has given it out says so: ``was_shown``.

        Raises: LockedError, StoreFullError.
        """

        async def decide() -> Change[OpenKeyring] | Unchanged[OpenKeyring]:
            opened = self.keys.reopened((await keyring_item(self._store)).value)
            return Change((), (), self._act("unlock-key", {}), opened) if opened.unlock_key else Unchanged(opened)

        self.keys.check()
        await self._settle()
        opened = await self._commits.change(caller, decide)
        self.keys.replace(opened)
        return opened.unlock_key

    def was_shown(self, caller: Caller, unlock_key: UnlockKey) -> None:
        """Somebody has it: from now on the next start takes it."""
        self._shown = caller, unlock_key
        self._was_shown.set()

    async def unlock(self, caller: Caller, text: str) -> None:
        """Open the keyring; when this returns, what waited for it is shown, or will be.

        Raises: ConflictError, BadRequestError, WrongUnlockKeyError, StoreFullError.
        """

        async def decide() -> Change[OpenKeyring]:
            self._check_locked()  # again, as another one may have been quicker
            opened = self.keys.tried((await keyring_item(self._store)).value, unlock_key)
            return Change((), (), self._act("unlock", {}), opened)

        self._check_locked()
        unlock_key = UnlockKey.parse(text)
        try:
            opened = await self._commits.change(caller, decide)
        except WrongUnlockKeyError:
            await self._note(caller, "unlock", {"Refused": "wrong key"})
            raise
        self.keys.unlock(opened)
        log.info("unlocked", uid=caller.uid, pid=caller.pid)
        await self._unlocked()

    async def _records(self) -> tuple[Item, Found[SwarmRecord]]:
        return await keyring_item(self._store), await swarm_record(self._store, self._commits.now_ns())

    def _check_locked(self) -> None:
        if not self.keys.locked:
            raise ConflictError("swarm is not locked")

    async def run(self) -> None:
        """Have each unlock key count once it was shown, for ever."""
        while True:
            await self._was_shown.wait()
            self._was_shown = trio.Event()
            try:
                await self._settle()
            except SecretfsError as exc:
                log.error("the next start does not take the unlock key yet, trying again", error=str(exc))
                await trio.sleep(RETRY_SECONDS)
                self._was_shown.set()

    async def _settle(self) -> None:
        """Write down that the unlock key was shown, if it was. One of a swarm that was left opens nothing any more."""
        if self.keys.left:
            self._shown = None
        if self._shown is None:
            return
        shown = caller, unlock_key = self._shown

        async def decide() -> Change[OpenKeyring] | Unchanged[OpenKeyring]:
            item = await keyring_item(self._store)
            old = self.keys.reopened(item.value)
            if old.unlock_key != unlock_key or old.seen:
                return Unchanged(old)
            new = replace(old, seen=True)
            return Change([Guard(KEYRING, item.rev)], [self._put(new)], self._act("lock", {}), new)

        self.keys.replace(await self._commits.change(caller, decide))
        if self._shown is shown:
            self._shown = None

    async def _note(self, caller: Caller, verb: str, detail: Mapping[str, object]) -> None:
        """Write down what somebody did that changed nothing."""

        async def decide() -> Change[None]:
            return Change((), (), self._act(verb, detail), None)

        await self._commits.change(caller, decide)

    def _put(self, opened: OpenKeyring) -> Put:
        return Put(KEYRING, self.keys.sealed(opened), erase=True)

    def _act(self, verb: str, detail: Mapping[str, object]) -> Act:
        return Act(f"swarm {verb}", "swarm", self.keys.cluster_id, NAME, detail)


def _rotated(old: SwarmRecord, rotate: Rotations, now_ns: int) -> SwarmRecord:
    if not (rotate.worker or rotate.manager):
        return old
    worker = fresh_token(old.root) if rotate.worker else old.worker
    manager = fresh_token(old.root) if rotate.manager else old.manager
    return msgspec.structs.replace(old, updated_at_ns=now_ns, worker=worker, manager=manager)


def _updated(old: OpenKeyring, *, autolock: bool, rotate: bool) -> OpenKeyring:
    if not autolock:
        return OpenKeyring(old.keyring) if old.unlock_key else old
    if old.unlock_key is None or rotate:
        return OpenKeyring(old.keyring, UnlockKey.fresh())
    return old
