"""Versions of secrets and configs: add, look at, roll back, prune. Rule: a change of a value is a new version, and a
version goes only when nobody would miss it.

An update is done when the store has it; running tasks are brought there, and one that is late is a warning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from secretfs.control.audit import Caller
from secretfs.control.records.codec import corrupt, decode, encode, everything
from secretfs.control.records.lookup import Found, every, find
from secretfs.control.records.objects import OBJECTS, ciphertext_key, refs_key, wrapped_key_key
from secretfs.control.records.services import SERVICES
from secretfs.control.records.tasks import TASKS
from secretfs.control.usecases.commits import Act, Change, Commits, Unchanged
from secretfs.control.usecases.refs import refs_of
from secretfs.control.usecases.showing import late_tasks
from secretfs.control.usecases.tasks import Tasks
from secretfs.control.values import Values
from secretfs.core.names import Kind, ObjectId
from secretfs.core.plan import VersionRef
from secretfs.core.secret import MAX_DRAIN_MS, MAX_VERSIONS, Secret, Version, check_size
from secretfs.core.service import Service
from secretfs.core.versions import VersionUse, version_uses
from secretfs.crypto.envelope import wipe
from secretfs.errors import (
    CorruptRecordError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionError,
    UnsealError,
)
from secretfs.store.base import Del, Guard, Op, Put

Value = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Revision:
    """A value to be, without its bytes. ``labels`` are added to those that are there, or take their place."""

    kind: Kind
    reference: str
    drain_ms: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Revised:
    """Which version is the newest now, whether it was before, and which tasks do not show it yet, and why."""

    object_id: ObjectId
    number: int
    unchanged: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that was not pruned."""

    number: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """The versions that are gone, and the others."""

    removed: tuple[int, ...]
    kept: tuple[Kept, ...]


class Versions:
    """The use cases of versions, of both kinds."""

    def __init__(self, commits: Commits, values: Values, tasks: Tasks) -> None:
        self._commits = commits
        self._store = commits.store
        self._values = values
        self._tasks = tasks

    async def update(self, caller: Caller, revision: Revision, value: Value) -> Revised:
        """Add a version, unless the newest one has these bytes; the caller wipes its buffer afterwards.

        Raises: InvalidArgumentError, PreconditionError (too many versions), StoreFullError, and as Secrets.inspect.
        """
        check_size(revision.kind, len(value))
        _check_drain(revision.drain_ms)

        async def decide() -> Change[Revised] | Unchanged[Revised]:
            found = await find(self._store, OBJECTS[revision.kind], revision.reference)
            if await self._is_newest(found.value, value):
                return self._relabelled(found, revision.labels)
            return self._revised(found, revision, value, "update", {})

        return await self._shown(await self._commits.change(caller, decide))

    async def rollback(self, caller: Caller, revision: Revision, number: int) -> Revised:
        """Add a version with the bytes of an older one. Raises: NotFoundError, UnsealError, and as update."""
        _check_drain(revision.drain_ms)

        async def decide() -> Change[Revised] | Unchanged[Revised]:
            found = await find(self._store, OBJECTS[revision.kind], revision.reference)
            secret = found.value
            value = await self._values.opened(VersionRef(secret.id, secret.version(number).number))
            try:
                if await self._is_newest(secret, value):
                    return self._relabelled(found, {})
                return self._revised(found, revision, value, "rollback", {"From": number})
            finally:
                wipe(value)

        return await self._shown(await self._commits.change(caller, decide))

    async def listed(self, kind: Kind, reference: str) -> tuple[VersionUse, ...]:
        """All versions, oldest first, with who uses them. Raises: CorruptRecordError, and as Secrets.inspect."""
        found = await find(self._store, OBJECTS[kind], reference)
        return await self._uses(found.value, await self._services())

    async def prune(self, caller: Caller, kind: Kind, reference: str, keep: int) -> Pruned:
        """Remove all versions but the newest ``keep`` and those in use.

        Guarded by whatever could pin one meanwhile. Raises: InvalidArgumentError, and as listed.
        """
        if keep < 1:
            raise InvalidArgumentError("invalid number of versions to keep: it must be 1 or more")

        async def decide() -> Change[Pruned] | Unchanged[Pruned]:
            found = await find(self._store, OBJECTS[kind], reference)
            secret = found.value
            refs = await refs_of(self._store, secret.id)
            services = await self._services()
            uses = await self._uses(secret, services)
            pruned = _pruned(uses, keep)
            if not pruned.removed:
                return Unchanged(pruned)
            left = tuple(version for version in secret.versions if version.number not in pruned.removed)
            key = OBJECTS[kind].key(secret.id)
            users = [one for one in services if _mentions(one.value, secret.id)]
            guards = [Guard(SERVICES.key(one.value.id), one.rev) for one in users]
            guards += [Guard(key, found.rev), Guard(refs_key(secret.id), refs.rev)]
            ops: list[Op] = [Put(key, encode(replace(secret, versions=left)))]
            ops += _values_gone(secret.id, pruned.removed)
            return Change(guards, ops, _act("prune", secret, {"Removed": list(pruned.removed)}), pruned)

        return await self._commits.change(caller, decide)

    async def _is_newest(self, secret: Secret, value: Value) -> bool:
        """A newest version that is damaged is none that could be equal: an update mends it."""
        try:
            return await self._values.equal(VersionRef(secret.id, secret.newest.number), value)
        except (NotFoundError, CorruptRecordError, UnsealError):
            return False

    def _relabelled(self, found: Found[Secret], labels: Mapping[str, str]) -> Change[Revised] | Unchanged[Revised]:
        secret = found.value
        result = Revised(secret.id, secret.newest.number, unchanged=True)
        if labels.items() <= secret.labels.items():
            return Unchanged(result)
        new = replace(secret, labels={**secret.labels, **labels}, updated_at_ns=self._commits.now_ns())
        key = OBJECTS[secret.kind].key(secret.id)
        return Change((Guard(key, found.rev),), (Put(key, encode(new)),), _act("update", new, {}), result)

    def _revised(
        self, found: Found[Secret], revision: Revision, value: Value, verb: str, detail: Mapping[str, object]
    ) -> Change[Revised]:
        secret, now = found.value, self._commits.now_ns()
        if len(secret.versions) >= MAX_VERSIONS:
            raise PreconditionError(
                f"{secret.kind.value} {secret.name} has {MAX_VERSIONS} versions, which is the most: "
                f"remove old ones with 'secretfs {secret.kind.value} prune'"
            )
        version = Version(secret.newest.number + 1, now, len(value), revision.drain_ms)
        new = replace(
            secret,
            versions=(*secret.versions, version),
            labels={**secret.labels, **revision.labels},
            updated_at_ns=now,
        )
        puts = self._values.puts(secret.kind, VersionRef(secret.id, version.number), value)
        key = OBJECTS[secret.kind].key(secret.id)
        known = {"Version": version.number, **detail, "Drain": revision.drain_ms / 1000}
        result = Revised(secret.id, version.number, unchanged=False)
        return Change((Guard(key, found.rev),), (Put(key, encode(new)), *puts), _act(verb, new, known), result)

    async def _shown(self, revised: Revised) -> Revised:
        """Also what was the newest before: the update that made it so may have been interrupted, and be asked again."""
        late = await late_tasks(self._tasks, self._tasks.concerned(revised.object_id))
        reasons = {task: why.removeprefix(f"task {task}: ") for task, why in late.items()}
        warnings = (f"task {task} still reads the version before: {why}" for task, why in reasons.items())
        return replace(revised, warnings=tuple(warnings))

    async def _uses(self, secret: Secret, services: list[Found[Service]]) -> tuple[VersionUse, ...]:
        tasks = [found.value for found in await every(self._store, TASKS)]
        return version_uses(secret, [found.value for found in services], tasks, self._tasks.held(secret.id))

    async def _services(self) -> list[Found[Service]]:
        """All of them: one that cannot be read may pin what is asked for. Raises: CorruptRecordError."""
        listing = await everything(self._store, SERVICES.key(""))
        if listing.damaged:
            raise corrupt(listing.damaged[0])
        return [Found(decode(item, Service), item.rev) for item in listing.items]


def _check_drain(drain_ms: int) -> None:
    if not 0 <= drain_ms <= MAX_DRAIN_MS:
        raise InvalidArgumentError(f"invalid drain: it must be from 0 to {MAX_DRAIN_MS // 3_600_000} hours")


def _pruned(uses: tuple[VersionUse, ...], keep: int) -> Pruned:
    recent = {use.version.number for use in uses[-keep:]}
    removed = tuple(use.version.number for use in uses if use.safe and use.version.number not in recent)
    among = (f"it is one of the newest {keep}",)
    kept = (Kept(use.version.number, use.reasons or among) for use in uses if use.version.number not in removed)
    return Pruned(removed, tuple(kept))


def _mentions(service: Service, object_id: ObjectId) -> bool:
    return any(grant.object_id == object_id for grant in (*service.grants, *service.previous_grants))


def _values_gone(object_id: ObjectId, numbers: tuple[int, ...]) -> list[Op]:
    contents = [VersionRef(object_id, number) for number in numbers]
    return [Del(key) for content in contents for key in (wrapped_key_key(content), ciphertext_key(content))]


def _act(verb: str, secret: Secret, detail: Mapping[str, object]) -> Act:
    return Act(f"{secret.kind.value} {verb}", secret.kind.value, secret.id, secret.name, detail)
