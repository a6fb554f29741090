"""Rotation of the key-encryption key. Rule: a key goes when nothing is wrapped by it, whatever happened in between.

A new key becomes active in one commit; from then on all new values have it. The others' data keys are rewrapped in
batches, each record by compare-and-swap, so that everybody else is served meanwhile. The old keys are dropped when
nothing of theirs is left. A keyring of several keys is a rotation that is not over: the next start goes on with it.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from secretfs.control import log
from secretfs.control.audit import Caller
from secretfs.control.keys import Keys
from secretfs.control.records.cluster import KEYRING, keyring_item
from secretfs.control.records.codec import decode, everything
from secretfs.control.records.objects import OBJECTS, wrapped_key_key
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.control.values import Values
from secretfs.core.names import Kind
from secretfs.core.plan import VersionRef
from secretfs.crypto.envelope import KEY_ID_BYTES
from secretfs.crypto.lock import OpenKeyring
from secretfs.errors import CorruptRecordError, SecretfsError, UnsealError
from secretfs.store.base import Conflict, Guard, Item, Put

BATCH: Final = 200  # values per commit: a few milliseconds, in which nobody else's change is done
RETRY_SECONDS: Final = 5.0
OURSELVES: Final = Caller(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())

_Content = tuple[Kind, VersionRef]


@dataclass(slots=True)
class Progress:
    """Of the rotation under way, or of the last one; ``failure``: why the old keys are still there."""

    running: bool = False
    done: int = 0
    total: int = 0
    failure: str = ""


class Rotation:
    """The use cases of key-encryption keys."""

    def __init__(self, commits: Commits, keys: Keys, values: Values) -> None:
        self._commits = commits
        self._store = commits.store
        self._keys = keys
        self._values = values
        self._beginning = trio.Lock()
        self._due = trio.Event()
        self.progress = Progress()

    async def begin(self, caller: Caller) -> str:
        """Make a new key the active one, and have the others replaced by it; the new one's id.

        One that is under way is joined. Raises: LockedError, StoreFullError.
        """

        async def decide() -> Change[OpenKeyring]:
            item = await keyring_item(self._store)
            old = self._keys.reopened(item.value)
            return self._change("rotate", item, replace(old, keyring=old.keyring.rotated()))

        self._keys.check()
        async with self._beginning:
            if not self.progress.running:
                self._keys.replace(await self._commits.change(caller, decide))
                self.resume()
            return self._keys.keyring.active.key_id.hex()

    def resume(self) -> None:
        """Go on with what an earlier control began. Not to be called while locked."""
        if len(self._keys.keyring) > 1 and not self.progress.running:
            self.progress = Progress(running=True)
            self._due.set()

    async def listed(self) -> dict[str, int]:
        """How many values each key wraps, by its id; the active key comes last. Raises: LockedError, StoreError."""
        keyring = self._keys.keyring
        count: Counter[bytes] = Counter()
        for _, content in (await self._contents())[0]:
            with contextlib.suppress(CorruptRecordError):
                item = await self._store.get(wrapped_key_key(content))
                count[item.value[:KEY_ID_BYTES] if item else b""] += 1
        return {key_id.hex(): count[key_id] for key_id in sorted(keyring, key=lambda one: one == keyring.active.key_id)}

    async def run(self) -> None:
        """Carry out what was begun, for ever."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            try:
                self.progress.failure = await self._carried_out()
                self.progress.running = False
            except SecretfsError as exc:
                log.error("the key rotation goes on later", error=str(exc))
                self.progress = Progress(failure=str(exc))
                await trio.sleep(RETRY_SECONDS)
                self.resume()

    async def _carried_out(self) -> str:
        """What stood in the way of dropping the old keys, if anything."""
        contents, damaged = await self._contents()
        broken = set(damaged)
        self.progress.total = len(contents)
        while contents:  # each scan but the first is of what others changed meanwhile
            again: list[_Content] = []
            for batch in _batches(contents):
                again += await self._rewrapped(batch, broken)
                self.progress.done = min(self.progress.done + len(batch), self.progress.total)
            contents = again
        if not broken:
            await self._drop()
            return ""
        for key in sorted(broken):
            log.error("a record cannot be rewrapped", key=key)
        return f"{len(broken)} damaged records cannot be rewrapped, as {min(broken)!r}: the old key is kept for them"

    async def _rewrapped(self, batch: Sequence[_Content], broken: set[str]) -> Sequence[_Content]:
        """Rewrap those that another key than the active one wraps. All of them again, if one was changed meanwhile."""
        guards: list[Guard] = []
        ops: list[Put] = []
        for kind, content in batch:
            try:
                item = await self._store.get(wrapped_key_key(content))
                if item is not None and item.value[:KEY_ID_BYTES] != self._keys.keyring.active.key_id:
                    ops.append(self._values.rewrapped(kind, content, item.value))
                    guards.append(Guard(item.key, item.rev))
            except (CorruptRecordError, UnsealError):
                broken.add(wrapped_key_key(content))
        if not ops:
            return ()
        done = await self._store.commit(guards, ops)
        return batch if isinstance(done, Conflict) else ()

    async def _drop(self) -> None:
        """Only the active key is left. Nobody has sealed with another since it became active: see Values.puts."""

        async def decide() -> Change[OpenKeyring]:
            item = await keyring_item(self._store)
            old = self._keys.reopened(item.value)
            keyring = old.keyring
            for key_id in [one for one in keyring if one != keyring.active.key_id]:
                keyring = keyring.without(key_id)
            return self._change("drop", item, replace(old, keyring=keyring), Values=self.progress.total)

        self._keys.replace(await self._commits.change(OURSELVES, decide))

    def _change(self, verb: str, item: Item, new: OpenKeyring, **detail: object) -> Change[OpenKeyring]:
        act = Act(f"key {verb}", "key", new.keyring.active.key_id.hex(), "", detail)
        put = Put(KEYRING, self._keys.sealed(new), erase=True)
        return Change([Guard(KEYRING, item.rev)], [put], act, new)

    async def _contents(self) -> tuple[list[_Content], list[str]]:
        """Every version of every object, and the damaged records of objects."""
        contents: list[_Content] = []
        broken: list[str] = []
        for kind, noun in OBJECTS.items():
            listing = await everything(self._store, noun.key(""))
            broken += listing.damaged
            for item in listing.items:
                try:
                    found = decode(item, noun.type)
                except CorruptRecordError:
                    broken.append(item.key)
                    continue
                contents += ((kind, VersionRef(found.id, version.number)) for version in found.versions)
        return contents, broken


def _batches(contents: Sequence[_Content]) -> Iterator[Sequence[_Content]]:
    for at in range(0, len(contents), BATCH):
        yield contents[at : at + BATCH]
