"""Secrets and configs: create, look at, label, remove. Rule: a value comes in here once and goes nowhere
but into its seal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from secretfs.control.audit import Caller
from secretfs.control.records.codec import encode
from secretfs.control.records.lookup import Found, by_id, every, find
from secretfs.control.records.objects import OBJECTS, ciphertext_key, refs_key, wrapped_key_key
from secretfs.control.records.services import SERVICES
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.control.usecases.filters import Filters, check_keys, matches
from secretfs.control.usecases.refs import refs_of
from secretfs.control.values import Values
from secretfs.core.names import Kind, ObjectId, ServiceId, ServiceName, parse_object_name
from secretfs.core.plan import VersionRef
from secretfs.core.secret import Driver, Secret, Version, check_size
from secretfs.core.service import check_unused
from secretfs.errors import (
    AlreadyExistsError,
    CorruptRecordError,
    InvalidArgumentError,
    OutOfSequenceError,
    PluginNotFoundError,
)
from secretfs.store.base import Del, Guard, Op, Put

Value = bytes | bytearray | memoryview
FILTERS: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.SECRET: frozenset({"name", "names", "id", "label"}),
    Kind.CONFIG: frozenset({"name", "id", "label"}),
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A secret to be, without its value."""

    kind: Kind
    name: str
    labels: Mapping[str, str]
    driver: Driver | None = None
    templating: Driver | None = None


class Secrets:
    """The use cases of secrets and, by kind, of configs."""

    def __init__(self, commits: Commits, values: Values) -> None:
        self._commits = commits
        self._store = commits.store
        self._values = values

    async def create(self, caller: Caller, draft: Draft, value: Value) -> ObjectId:
        """Keep the value under a name; the caller wipes its buffer afterwards.

        Raises: InvalidArgumentError, AlreadyExistsError, PluginNotFoundError, StoreFullError.
        """
        _check_driver(draft)
        name = parse_object_name(draft.kind, draft.name)
        check_size(draft.kind, len(value))
        now = self._commits.now_ns()
        version = Version(1, now, len(value))
        object_id = ObjectId(self._commits.new_id())
        secret = Secret(
            draft.kind, object_id, name, dict(draft.labels), now, now, (version,), templating=draft.templating
        )

        async def decide() -> Change[ObjectId]:
            noun = OBJECTS[draft.kind]
            if await self._store.get(noun.name_key(name)) is not None:
                raise AlreadyExistsError(f"{noun.word} {name} already exists")
            guards = (Guard(noun.name_key(name), 0), Guard(noun.key(object_id), 0))
            puts = self._values.puts(draft.kind, VersionRef(object_id, version.number), value)
            ops = (Put(noun.name_key(name), encode(object_id)), Put(noun.key(object_id), encode(secret)), *puts)
            return Change(guards, ops, _act("create", secret), object_id)

        return await self._commits.change(caller, decide)

    async def inspect(self, kind: Kind, reference: str) -> Found[Secret]:
        """The one that is meant. Raises: NotFoundError, AmbiguousError, CorruptRecordError."""
        return await find(self._store, OBJECTS[kind], reference)

    async def listed(self, kind: Kind, filters: Filters) -> list[Found[Secret]]:
        """Those that the filters let through. Raises: BadRequestError, for a filter that there is not."""
        check_keys(filters, FILTERS[kind])
        return [found for found in await every(self._store, OBJECTS[kind]) if _wanted(filters, found.value)]

    async def config_data(self, config: Secret) -> bytearray:
        """What a config holds, in its newest version. Raises: NotFoundError, CorruptRecordError, UnsealError."""
        assert config.kind is Kind.CONFIG  # a secret's value leaves through fs only
        return await self._values.opened(VersionRef(config.id, config.newest.number))

    async def update_labels(self, caller: Caller, reference: str, rev: int, draft: Draft, value: Value) -> None:
        """Replace the labels of the object as of revision rev. Name and value must be absent or what they
        are.

        Raises: OutOfSequenceError, InvalidArgumentError, and as inspect.
        """
        noun = OBJECTS[draft.kind]

        async def decide() -> Change[None]:
            found = await find(self._store, noun, reference)
            secret = found.value
            await self._check_same(secret, draft, value)
            if found.rev != rev:
                raise OutOfSequenceError("update out of sequence")
            new = replace(secret, labels=dict(draft.labels), updated_at_ns=self._commits.now_ns())
            key = noun.key(secret.id)
            return Change((Guard(key, rev),), (Put(key, encode(new)),), _act("update", new), None)

        await self._commits.change(caller, decide)

    async def remove(self, caller: Caller, kind: Kind, reference: str) -> None:
        """Forget it, its versions and its name. Raises: ObjectInUseError, and as inspect."""

        async def decide() -> Change[None]:
            found = await find(self._store, OBJECTS[kind], reference)
            refs = await refs_of(self._store, found.value.id)
            names = [await self._service_name(service) for service in refs.value.services]
            check_unused(found.value, names, refs.value.tasks)
            noun = OBJECTS[kind]
            key = noun.key(found.value.id)
            guards = (Guard(key, found.rev), Guard(refs_key(found.value.id), refs.rev))
            ops = (Del(key), Del(noun.name_key(found.value.name)), *_values_gone(found.value))
            return Change(guards, ops, _act("rm", found.value), None)

        await self._commits.change(caller, decide)

    async def _check_same(self, secret: Secret, draft: Draft, value: Value) -> None:
        newest = VersionRef(secret.id, secret.newest.number)
        if draft.name != secret.name or (value and not await self._values.equal(newest, value)):
            raise InvalidArgumentError("only updates to Labels are allowed")

    async def _service_name(self, service_id: ServiceId) -> ServiceName:
        """What the refusal calls a service; by its id when its record cannot be read: it still protects."""
        try:
            found = await by_id(self._store, SERVICES, service_id)
        except CorruptRecordError:
            found = None
        return ServiceName(service_id) if found is None else found.value.name


def _check_driver(draft: Draft) -> None:
    if draft.driver is not None:
        if not draft.driver.name:
            raise InvalidArgumentError(f"{draft.kind.value} driver must have a name")
        raise PluginNotFoundError(f'plugin "{draft.driver.name}" not found')


def _act(verb: str, secret: Secret) -> Act:
    detail: dict[str, object] = {"Version": secret.newest.number} if verb == "create" else {}
    return Act(f"{secret.kind.value} {verb}", secret.kind.value, secret.id, secret.name, detail)


def _wanted(filters: Filters, secret: Secret) -> bool:
    return matches(filters, name=secret.name, object_id=secret.id, labels=secret.labels)


def _values_gone(secret: Secret) -> list[Op]:
    contents = [VersionRef(secret.id, version.number) for version in secret.versions]
    return [Del(key) for content in contents for key in (wrapped_key_key(content), ciphertext_key(content))]
