"""What a swarm of one node keeps for Docker's clients: its root, its join tokens, and what was said about the node.

A store that a version without them has written gets them when somebody asks for the first time.
"""

import os
from datetime import UTC, datetime
from typing import Final

import msgspec

from secretfs.control.records.codec import decode, encode
from secretfs.control.records.lookup import Found
from secretfs.core.names import ID_RANDOM_BYTES, base36, id_from
from secretfs.crypto.certificate import digest, root_certificate
from secretfs.store.base import Conflict, Guard, Put, Store

SWARM: Final = "cluster/swarm"
NODE: Final = "cluster/node"
_DIGEST_CHARS: Final = 50  # 36**50 > 2**256 (swarmkit ca/config.go: base36DigestLen)


class SwarmRecord(msgspec.Struct, frozen=True):
    """``root`` is PEM. The tokens let nobody in. ``left``: there is no swarm until somebody makes one."""

    created_at_ns: int
    updated_at_ns: int
    root: str
    worker: str
    manager: str
    left: bool = False


class NodeRecord(msgspec.Struct, frozen=True):
    """What somebody has said about the node."""

    updated_at_ns: int
    labels: dict[str, str]
    availability: str
    name: str = ""


def fresh_swarm(now_ns: int) -> SwarmRecord:
    """One with a root and tokens of its own."""
    root = root_certificate(datetime.fromtimestamp(now_ns // 10**9, UTC))
    return SwarmRecord(now_ns, now_ns, root, fresh_token(root), fresh_token(root))


def fresh_token(root: str) -> str:
    """A join token, in swarmkit's form."""
    return f"SWMTKN-1-{base36(digest(root), _DIGEST_CHARS)}-{id_from(os.urandom(ID_RANDOM_BYTES))}"


async def swarm_record(store: Store, now_ns: int) -> Found[SwarmRecord]:
    """The record, made now if there is none. Raises: CorruptRecordError, StoreError."""
    while True:
        item = await store.get(SWARM)
        if item is not None:
            return Found(decode(item, SwarmRecord), item.rev)
        record = fresh_swarm(now_ns)
        made = await store.commit([Guard(SWARM, 0)], [Put(SWARM, encode(record))])
        if not isinstance(made, Conflict):
            return Found(record, made)


async def swarm_left(store: Store) -> bool:
    """Whether there is none. Raises: CorruptRecordError, StoreError."""
    item = await store.get(SWARM)
    return item is not None and decode(item, SwarmRecord).left


async def node_record(store: Store) -> Found[NodeRecord] | None:
    """What was said about the node, or None. Raises: CorruptRecordError, StoreError."""
    item = await store.get(NODE)
    return None if item is None else Found(decode(item, NodeRecord), item.rev)
