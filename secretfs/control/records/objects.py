"""Secrets and configs: the object, its sealed versions, and who uses it.

``refs/ID`` is written by whatever begins or ends a use, and guarded by removal: of a grant and a removal that
race, one
conflicts, so there is never a grant of what is gone nor a removal of what is granted.
"""

from typing import Final

import msgspec

from secretfs.control.records.lookup import Noun
from secretfs.core.names import Kind, ObjectId, ServiceId, TaskId
from secretfs.core.plan import VersionRef
from secretfs.core.secret import Secret

OBJECTS: Final = {kind: Noun(kind.value, Secret) for kind in Kind}


class Refs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who uses an object: services by their current spec, tasks by ad-hoc grants; in the order in which
    they began to.
    """

    services: tuple[ServiceId, ...]
    tasks: tuple[TaskId, ...]


def refs_key(object_id: ObjectId) -> str:
    """Where an object's Refs are; no record means that nobody uses it."""
    return f"refs/{object_id}"


def wrapped_key_key(content: VersionRef) -> str:
    """Where a version's wrapped data key is."""
    return f"value/{content.object_id}/{content.number}/key"


def ciphertext_key(content: VersionRef) -> str:
    """Where a version's ciphertext is."""
    return f"value/{content.object_id}/{content.number}/data"
