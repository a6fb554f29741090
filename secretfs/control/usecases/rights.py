"""Who may begin a task of what. Rule: one who is not trusted learns no more than that he may not.

Whether there is a service of that name, which ids begin so: all of it is the same refusal to him.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from secretfs.control.audit import Caller
from secretfs.control.records.lookup import Found, by_id, every, find, not_found
from secretfs.control.records.services import SERVICES
from secretfs.control.records.tasks import TASKS
from secretfs.core.names import ServiceId, folded
from secretfs.core.service import Service
from secretfs.errors import AmbiguousError, NotFoundError, PermissionDeniedError
from secretfs.store.base import Store

MAX_TASKS_OF_UID: Final = 128  # of any but root
MAX_TASKS_OF_SERVICE: Final = 1024  # where its own socket still begins one
_ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Rights:
    """What the kernel vouches for, and what follows from where the caller came in.

    ``trusted``: no service has to name him. ``only``: he came through this service's own socket, which is good for
    nothing else.
    """

    trusted: bool
    gids: Collection[int] = ()
    only: ServiceId | None = None


def rights_of(caller: Caller) -> Rights:
    """Of one about whom nothing else is known."""
    return Rights(trusted=caller.uid == _ROOT, gids=(caller.gid,))


async def service_for(store: Store, caller: Caller, rights: Rights, reference: str | None) -> Found[Service] | None:
    """The service that is meant, if the caller may begin a task of it; None when none is meant.

    Raises: PermissionDeniedError; to the trusted NotFoundError, AmbiguousError, CorruptRecordError.
    """
    if rights.only is not None:
        found = await _only(store, rights.only, reference)
    elif reference is None:
        return None
    elif rights.trusted:
        return await find(store, SERVICES, reference)
    else:
        found = await _found(store, reference)
    if found is None or not (rights.trusted or _named(caller, rights, found.value)):
        raise _refusal(caller, reference or (found.value.name if found else ""))
    return found


def check_adhoc(caller: Caller, rights: Rights, grants: Collection[object]) -> None:
    """Grants without a service are for the trusted, and for no service's own socket. Raises: PermissionDeniedError."""
    if grants and rights.only is not None:
        raise PermissionDeniedError("this socket gives what its service is granted, and nothing else: leave out grants")
    if grants and not rights.trusted:
        raise PermissionDeniedError(
            f"uid {caller.uid} may not grant itself secrets: name a service that root allows it, or run this as root"
        )


async def check_quota(store: Store, caller: Caller, rights: Rights, service: Found[Service] | None) -> None:
    """Counted from the records: no restart forgets a task. Raises: PermissionDeniedError."""
    if caller.uid == _ROOT and rights.only is None:
        return
    tasks = [found.value for found in await every(store, TASKS)]
    if caller.uid != _ROOT and sum(task.uid == caller.uid for task in tasks) >= MAX_TASKS_OF_UID:
        raise _too_many(f"uid {caller.uid}", MAX_TASKS_OF_UID)
    of_service = sum(task.service_id == rights.only for task in tasks)
    if service is not None and rights.only is not None and of_service >= MAX_TASKS_OF_SERVICE:
        raise _too_many(f"service {service.value.name}", MAX_TASKS_OF_SERVICE)


def _too_many(who: str, most: int) -> PermissionDeniedError:
    return PermissionDeniedError(f"{who} has {most} running tasks, which is the most: end one of them first")


async def _only(store: Store, service_id: ServiceId, reference: str | None) -> Found[Service] | None:
    found = await by_id(store, SERVICES, service_id)
    if found is None:
        raise not_found(SERVICES, reference or service_id)
    meant = reference is None or reference == service_id or folded(reference) == folded(found.value.name)
    if not meant:
        raise PermissionDeniedError(f"this socket is for tasks of service {found.value.name} only")
    return found


async def _found(store: Store, reference: str) -> Found[Service] | None:
    try:
        return await find(store, SERVICES, reference)
    except (NotFoundError, AmbiguousError):
        return None


def _named(caller: Caller, rights: Rights, service: Service) -> bool:
    extras = service.extras
    return caller.uid in extras.allow_uids or not set(extras.allow_gids).isdisjoint(rights.gids)


def _refusal(caller: Caller, reference: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"uid {caller.uid} may not run tasks of service {reference}: root lets it with "
        f"'secretfs service update --allow-uid {caller.uid} {reference}'"
    )
