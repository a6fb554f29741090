"""From what was asked for to a grant that holds: the object exists, owner and group are numbers of this
host.
"""

import grp
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import trio

from secretfs.control.records.lookup import Found, by_id, by_name
from secretfs.control.records.objects import OBJECTS
from secretfs.core.grant import Grant, GrantRequest, check_mode, parse_owner_number, parse_target
from secretfs.core.names import Kind, ObjectId, is_id
from secretfs.core.secret import Secret
from secretfs.errors import InvalidGrantError
from secretfs.store.base import Guard, Store


@dataclass(frozen=True, slots=True)
class Reference:
    """A grant as Docker's API gives it: the client has looked the object up already."""

    kind: Kind
    object_id: str
    object_name: str
    target: str
    uid: int
    gid: int
    mode: int
    version: int | None = None  # None: the newest


@dataclass(frozen=True, slots=True)
class Resolved:
    """Grants, their objects, and the guards under which these objects are still there."""

    grants: tuple[Grant, ...]
    objects: dict[ObjectId, Secret]
    guards: tuple[Guard, ...]


async def user_id(text: str) -> int:
    """The number of a user given by number or name. Raises: InvalidGrantError."""
    number = parse_owner_number(text)
    return await trio.to_thread.run_sync(_user_number, text) if number is None else number


async def group_id(text: str) -> int:
    """The number of a group given by number or name. Raises: InvalidGrantError."""
    number = parse_owner_number(text)
    return await trio.to_thread.run_sync(_group_number, text) if number is None else number


async def referenced(store: Store, references: Iterable[Reference]) -> Resolved:
    """Docker's references as grants. Raises: InvalidGrantError when id and name are not those of one
    object, or it does not have the version.
    """
    grants, found = [], []
    references = list(references)
    objects = [await _of_id(store, reference) for reference in references]
    _check_found(references, objects)
    for reference, secret in zip(references, objects, strict=True):
        assert secret is not None
        target = parse_target(reference.target, reference.kind)
        mode = check_mode(reference.mode)
        _check_servable(secret.value)
        _check_version(secret.value, reference.version)
        found.append(secret)
        uid, gid, version = reference.uid, reference.gid, reference.version
        grants.append(Grant(reference.kind, secret.value.id, secret.value.name, target, uid, gid, mode, version))
    return _resolved(grants, found)


async def with_numbers(requests: Iterable[GrantRequest]) -> tuple[GrantRequest, ...]:
    """The requests with owners as numbers of this host. Raises: InvalidGrantError."""
    return tuple(
        [
            replace(request, uid=str(await user_id(request.uid)), gid=str(await group_id(request.gid)))
            for request in requests
        ]
    )


async def requested(store: Store, requests: Iterable[GrantRequest]) -> Resolved:
    """What was typed, with owners as numbers, as grants.

    Raises: InvalidGrantError, for a missing object with Docker's text, and for a missing version.
    """
    grants, found = [], []
    for request in requests:
        secret = await _named(store, request)
        _check_servable(secret.value)
        _check_version(secret.value, request.version)
        target = parse_target(request.target, request.kind)
        uid, gid = int(request.uid), int(request.gid)
        mode = check_mode(request.mode)
        found.append(secret)
        grants.append(Grant(request.kind, secret.value.id, secret.value.name, target, uid, gid, mode, request.version))
    return _resolved(grants, found)


def _resolved(grants: Sequence[Grant], found: Sequence[Found[Secret]]) -> Resolved:
    objects = {secret.value.id: secret.value for secret in found}
    guards = {OBJECTS[secret.value.kind].key(secret.value.id): secret.rev for secret in found}
    return Resolved(tuple(grants), objects, tuple(Guard(key, rev) for key, rev in guards.items()))


async def _of_id(store: Store, reference: Reference) -> Found[Secret] | None:
    """The object, if id and name are those of one."""
    if not is_id(reference.object_id):
        return None
    found = await by_id(store, OBJECTS[reference.kind], reference.object_id)
    return found if found is not None and found.value.name == reference.object_name else None


def _check_found(references: Sequence[Reference], objects: Sequence[Found[Secret] | None]) -> None:
    """Refuse what is not there, all of one kind in one sentence. Raises: InvalidGrantError, with Docker's text."""
    for kind in Kind:
        pairs = zip(references, objects, strict=True)
        missing = [one.object_name for one, found in pairs if one.kind is kind and found is None]
        if missing:
            nouns = kind.value if len(missing) == 1 else f"{kind.value}s"
            raise InvalidGrantError(f"{nouns} not found: {', '.join(missing)}")


async def _named(store: Store, request: GrantRequest) -> Found[Secret]:
    noun = OBJECTS[request.kind]
    found = await by_name(store, noun, request.source)
    if found is None and is_id(request.source):
        found = await by_id(store, noun, request.source)
    if found is None:
        raise InvalidGrantError(f"{request.kind.value} not found: {request.source}")
    return found


def _check_servable(secret: Secret) -> None:
    if secret.templating is not None:
        driver = secret.templating.name
        raise InvalidGrantError(
            f"{secret.kind.value} {secret.name} is a template ({driver}), and secretfs renders none: "
            "create it without a template driver"
        )


def _check_version(secret: Secret, number: int | None) -> None:
    if number is not None and number not in [version.number for version in secret.versions]:
        newest = secret.newest.number
        raise InvalidGrantError(f"{secret.kind.value} {secret.name} has no version {number}: the newest is {newest}")


def _user_number(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise InvalidGrantError(f"unknown user {name!r}: this host has none of that name") from None


def _group_number(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise InvalidGrantError(f"unknown group {name!r}: this host has none of that name") from None
