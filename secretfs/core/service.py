"""A service: a named set of grants. Rule: what Docker's clients stored in it is given back as it came."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from secretfs.core.grant import Grant
from secretfs.core.names import ServiceId, ServiceName, TaskId
from secretfs.core.secret import Secret
from secretfs.errors import ObjectInUseError

JsonObject = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Extras:
    """What a service has that Docker's spec has no place for; docker's CLI would drop it from there.

    ``on_change`` is empty, ``signal:NAME`` or ``exec:COMMAND``.
    """

    allow_uids: tuple[int, ...] = ()  # who may attach tasks, besides root
    allow_gids: tuple[int, ...] = ()
    on_change: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """``spec`` is Docker's whole spec as it was sent; ``grants`` is what it says about secrets, resolved.

    Its version index is the revision of its record in the store, so it is no field. ``previous_spec``,
    ``previous_grants`` and ``previous_extras`` are what a rollback goes back to.
    """

    id: ServiceId
    name: ServiceName
    labels: Mapping[str, str]
    grants: tuple[Grant, ...]
    created_at_ns: int
    updated_at_ns: int
    spec: JsonObject
    previous_spec: JsonObject | None = None
    previous_grants: tuple[Grant, ...] = ()
    extras: Extras = Extras()
    previous_extras: Extras = Extras()


def check_unused(secret: Secret, services: Iterable[ServiceName], tasks: Iterable[TaskId] = ()) -> None:
    """Refuse the removal of an object that these services, or these tasks by ad-hoc grants, use.

    Raises: ObjectInUseError, for services with Docker's text; it names all of them, in the order given.
    """
    parts = [
        f"{noun if len(users) == 1 else noun + 's'}: {', '.join(users)}"
        for noun, users in (("service", list[str](services)), ("task", list[str](tasks)))
        if users
    ]
    if parts:
        users = " and ".join(parts)
        raise ObjectInUseError(f"{secret.kind.value} '{secret.name}' is in use by the following {users}")
