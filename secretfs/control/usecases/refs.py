"""Who uses an object. Rule: a use that begins is guarded by the object, one that begins or ends by the
object's refs.

So a removal, which is guarded by both, never races past a grant.
"""

from collections.abc import Iterable

import msgspec

from secretfs.control import log
from secretfs.control.records.codec import decode, encode
from secretfs.control.records.lookup import Found
from secretfs.control.records.objects import Refs, refs_key
from secretfs.core.names import ObjectId, ServiceId, TaskId
from secretfs.errors import CorruptRecordError
from secretfs.store.base import Del, Guard, Op, Put, Store


async def refs_of(store: Store, object_id: ObjectId) -> Found[Refs]:
    """Who uses the object, and the revision for a guard (0: there is no record). Raises:
    CorruptRecordError.
    """
    item = await store.get(refs_key(object_id))
    return Found(Refs((), ()), 0) if item is None else Found(decode(item, Refs), item.rev)


async def service_uses(
    store: Store, service: ServiceId, *, before: Iterable[ObjectId], after: Iterable[ObjectId]
) -> tuple[list[Guard], list[Op]]:
    """What to commit when the service's uses change from these objects to those."""
    old, new = set(before), set(after)
    guards: list[Guard] = []
    ops: list[Op] = []
    for object_id in sorted(old ^ new):
        refs = await refs_of(store, object_id)
        others = tuple(user for user in refs.value.services if user != service)
        users = (*others, service) if object_id in new else others
        guards.append(Guard(refs_key(object_id), refs.rev))
        ops.append(_write(object_id, msgspec.structs.replace(refs.value, services=users)))
    return guards, ops


async def task_uses(
    store: Store, task: TaskId, objects: Iterable[ObjectId], *, begin: bool
) -> tuple[list[Guard], list[Op]]:
    """What to commit when a task begins or ends to use these objects by ad-hoc grants.

    Damaged refs do not keep a task from ending; they go on protecting their object.
    """
    guards: list[Guard] = []
    ops: list[Op] = []
    for object_id in sorted(set(objects)):
        try:
            refs = await refs_of(store, object_id)
        except CorruptRecordError as exc:
            if begin:
                raise
            log.error("a task ends without its refs", task=task, error=str(exc))
            continue
        others = tuple(user for user in refs.value.tasks if user != task)
        guards.append(Guard(refs_key(object_id), refs.rev))
        users = (*others, task) if begin else others
        ops.append(_write(object_id, msgspec.structs.replace(refs.value, tasks=users)))
    return guards, ops


def _write(object_id: ObjectId, refs: Refs) -> Op:
    """No erasure: who does not use an object any more is no secret, and a revocation would wait for it."""
    key = refs_key(object_id)
    return Put(key, encode(refs)) if refs.services or refs.tasks else Del(key, erase=False)
