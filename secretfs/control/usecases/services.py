"""Services: a named set of grants, and Docker's spec around it. Rule: an update is answered when running
tasks show it.

The store is the truth: a task that does not show the new grants in time becomes a warning (``showing``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from secretfs.control import log
from secretfs.control.audit import Caller
from secretfs.control.records.codec import encode
from secretfs.control.records.lookup import Found, every, find
from secretfs.control.records.services import SERVICES
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.control.usecases.grants import Reference, Resolved, referenced
from secretfs.control.usecases.refs import service_uses
from secretfs.control.usecases.showing import late_tasks
from secretfs.control.usecases.tasks import Tasks
from secretfs.core.grant import Grant, Target, check_conflicts, check_mode, parse_target
from secretfs.core.names import Kind, ObjectId, ObjectName, ServiceId, TaskId, parse_service_name
from secretfs.core.service import Extras, JsonObject, Service
from secretfs.errors import (
    AlreadyExistsError,
    InvalidGrantError,
    OutOfSequenceError,
    PreconditionError,
    SecretfsError,
    UnimplementedError,
)
from secretfs.store.base import Del, Guard, Put


@dataclass(frozen=True, slots=True)
class ServiceDraft:
    """A service to be: Docker's spec, and what of it matters here."""

    name: str
    labels: Mapping[str, str]
    references: tuple[Reference, ...]
    spec: JsonObject
    beside: "Beside | None" = None  # None: Docker's clients do not know of it, and leave it as it is


_FOLLOWED: Final = {
    "image": ("TaskTemplate", "ContainerSpec", "Image"),
    "replicas": ("Mode", "Replicated", "Replicas"),
}
_FOLLOWED_CHARS: Final = 256  # events are kept in memory
Pins = Mapping[tuple[Kind, str], int]  # the version that the grant at a target shows


@dataclass(frozen=True, slots=True)
class Beside:
    """What a spec says that Docker's has no place for."""

    extras: Extras
    pins: Pins


class Services:
    """The use cases of services."""

    def __init__(self, commits: Commits, tasks: Tasks) -> None:
        self._commits = commits
        self._store = commits.store
        self._tasks = tasks

    async def create(self, caller: Caller, draft: ServiceDraft) -> ServiceId:
        """Keep a service. Raises: InvalidNameError, InvalidGrantError, AlreadyExistsError, StoreFullError."""
        name = parse_service_name(draft.name)
        service_id = ServiceId(self._commits.new_id())

        async def decide() -> Change[ServiceId]:
            grants = await self._resolved(draft)
            if await self._store.get(SERVICES.name_key(name)) is not None:
                text = f"name conflicts with an existing object: service {name} already exists"
                raise AlreadyExistsError(text)
            now = self._commits.now_ns()
            extras = draft.beside.extras if draft.beside else Extras()
            service = Service(service_id, name, dict(draft.labels), grants.grants, now, now, draft.spec, extras=extras)
            guards, ops = await service_uses(self._store, service_id, before=(), after=grants.objects)
            guards += [*grants.guards, Guard(SERVICES.name_key(name), 0), Guard(SERVICES.key(service_id), 0)]
            ops += [Put(SERVICES.name_key(name), encode(service_id)), Put(SERVICES.key(service_id), encode(service))]
            return Change(guards, ops, _act("create", service), service_id)

        return await self._commits.change(caller, decide)

    async def inspect(self, reference: str) -> Found[Service]:
        """The one that is meant. Raises: NotFoundError, AmbiguousError, CorruptRecordError."""
        return await find(self._store, SERVICES, reference)

    async def listed(self) -> list[Found[Service]]:
        """All of them."""
        return await every(self._store, SERVICES)

    async def update(self, caller: Caller, reference: str, rev: int, draft: ServiceDraft) -> list[str]:
        """Replace the spec as of revision rev, and show it to running tasks; gives warnings.

        Raises: OutOfSequenceError, UnimplementedError (another name), and as create.
        """

        async def decide() -> Change[ServiceId]:
            found = await find(self._store, SERVICES, reference)
            grants = await self._resolved(draft, found.value.grants)
            if draft.name != found.value.name:
                raise UnimplementedError("renaming services is not supported")
            _check_revision(found, rev)
            extras = draft.beside.extras if draft.beside else found.value.extras
            labels = dict(draft.labels)
            new = replace(found.value, labels=labels, grants=grants.grants, spec=draft.spec, extras=extras)
            return await self._updated(found, new, grants.guards)

        return await self._show(await self._commits.change(caller, decide))

    async def rollback(self, caller: Caller, reference: str, rev: int) -> list[str]:
        """Swap the spec and the previous one. Raises: PreconditionError when there is none, and as update."""

        async def decide() -> Change[ServiceId]:
            found = await find(self._store, SERVICES, reference)
            old = found.value
            if old.previous_spec is None:
                raise PreconditionError(f"service {old.id} does not have a previous spec")
            _check_revision(found, rev)
            grants = await referenced(self._store, map(_reference, old.previous_grants))
            labels = _labels(old.previous_spec)
            new = replace(
                old,
                labels=labels,
                grants=old.previous_grants,
                spec=old.previous_spec,
                extras=old.previous_extras,
            )
            return await self._updated(found, new, grants.guards)

        return await self._show(await self._commits.change(caller, decide))

    async def remove(self, caller: Caller, reference: str) -> None:
        """Forget the service, then detach its tasks: their trees are flushed when this returns.

        Raises: NotFoundError, AmbiguousError, CorruptRecordError, StoreError.
        """

        async def decide() -> Change[ServiceId]:
            found = await find(self._store, SERVICES, reference)
            service = found.value
            used = [grant.object_id for grant in service.grants]
            guards, ops = await service_uses(self._store, service.id, before=used, after=())
            key = SERVICES.key(service.id)
            ops += [Del(key), Del(SERVICES.name_key(service.name))]
            return Change([*guards, Guard(key, found.rev)], ops, _act("rm", service), service.id)

        service_id = await self._commits.change(caller, decide)
        await self._tasks.detach_service(service_id, caller)

    async def _resolved(self, draft: ServiceDraft, before: Iterable[Grant] = ()) -> Resolved:
        references = _pinned(draft, before)
        check_conflicts(
            [_unresolved(reference) for reference in references]
        )  # before anything is looked for, as by Docker
        return await referenced(self._store, references)

    async def _updated(
        self, found: Found[Service], new: Service, object_guards: tuple[Guard, ...]
    ) -> Change[ServiceId]:
        old = found.value
        new = replace(
            new,
            updated_at_ns=self._commits.now_ns(),
            previous_spec=old.spec,
            previous_grants=old.grants,
            previous_extras=old.extras,
        )
        before = (grant.object_id for grant in old.grants)
        after = (grant.object_id for grant in new.grants)
        guards, ops = await service_uses(self._store, old.id, before=before, after=after)
        key = SERVICES.key(old.id)
        guards += [*object_guards, Guard(key, found.rev)]
        act = replace(_act("update", new), changes=dict(_changes(old.spec, new.spec)))
        return Change(guards, [*ops, Put(key, encode(new))], act, old.id)

    async def _show(self, service_id: ServiceId) -> list[str]:
        """Bring all tasks of the service there; a warning for each that is late."""
        late = await late_tasks(self._tasks, await self._concerned(service_id))
        return [f"task {task_id} does not show its new grants yet: {why}" for task_id, why in late.items()]

    async def _concerned(self, service_id: ServiceId) -> list[TaskId]:
        """The service's tasks; all, when that cannot be read: the change is done, and must be shown."""
        try:
            return [task.id for task in await self._tasks.of_service(service_id)]
        except SecretfsError as exc:
            log.error("the tasks of a service cannot be read", service=service_id, error=str(exc))
            return self._tasks.known()


def _check_revision(found: Found[Service], rev: int) -> None:
    if found.rev != rev:
        raise OutOfSequenceError("update out of sequence")


def _pinned(draft: ServiceDraft, before: Iterable[Grant]) -> list[Reference]:
    """The references with their pins: those the draft names, or, when it says nothing, those that the grants had."""
    if draft.beside is None:
        kept = {(grant.kind, grant.target, str(grant.object_id)): grant.version for grant in before}
        return [
            replace(reference, version=kept.get((*_place(reference), reference.object_id)))
            for reference in draft.references
        ]
    pins = {(kind, parse_target(target, kind)): number for (kind, target), number in draft.beside.pins.items()}
    for kind, target in pins.keys() - {_place(reference) for reference in draft.references}:
        raise InvalidGrantError(f"{kind.value} target '{target}' cannot have a version: nothing is granted there")
    return [replace(reference, version=pins.get(_place(reference))) for reference in draft.references]


def _unresolved(reference: Reference) -> Grant:
    names = ObjectId(reference.object_id), ObjectName(reference.object_name)
    owner = reference.uid, reference.gid, check_mode(reference.mode)
    return Grant(reference.kind, *names, parse_target(reference.target, reference.kind), *owner, reference.version)


def _place(reference: Reference) -> tuple[Kind, Target]:
    return reference.kind, parse_target(reference.target, reference.kind)


def _reference(grant: Grant) -> Reference:
    owner = grant.uid, grant.gid, grant.mode
    return Reference(grant.kind, grant.object_id, grant.object_name, grant.target, *owner, grant.version)


def _labels(spec: JsonObject) -> dict[str, str]:
    labels = spec.get("Labels")
    return dict(labels) if isinstance(labels, Mapping) else {}


def _changes(old: JsonObject, new: JsonObject) -> Iterator[tuple[str, tuple[str, str]]]:
    """What of Docker's spec its clients follow, where it is another: from what to what."""
    for word, path in _FOLLOWED.items():
        before, after = _within(old, path), _within(new, path)
        if before != after:
            yield word, (before, after)


def _within(spec: JsonObject, path: tuple[str, ...]) -> str:
    value: object = spec
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return str(value)[:_FOLLOWED_CHARS] if isinstance(value, str | int) else ""


def _act(verb: str, service: Service) -> Act:
    """Names and numbers of what is granted, to whom, and what is run for it; no ``OnChange``: nothing is."""
    extras = service.extras
    beside = {"AllowUIDs": extras.allow_uids, "AllowGIDs": extras.allow_gids, "OnChange": extras.on_change}
    detail: dict[str, object] = {"Grants": [_words(grant) for grant in service.grants]}
    detail |= {key: value for key, value in beside.items() if value}
    return Act(f"service {verb}", "service", service.id, service.name, detail)


def _words(grant: Grant) -> str:
    """``name:target:uid:gid:mode``, and ``@version`` when it is pinned."""
    pin = "" if grant.version is None else f"@{grant.version}"
    return f"{grant.object_name}:{grant.target}:{grant.uid}:{grant.gid}:{grant.mode:04o}{pin}"
