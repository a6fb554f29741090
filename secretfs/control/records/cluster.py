"""The cluster's id and its sealed keyring: made together by the first control that opens the store."""

import os
import time
from typing import Final

from secretfs.control.keys import Keys
from secretfs.control.records.codec import corrupt, encode
from secretfs.control.records.swarm import SWARM, fresh_swarm, swarm_left
from secretfs.core.names import id_from, is_id
from secretfs.crypto.keyring import Keyring
from secretfs.crypto.lock import OpenKeyring, sealed
from secretfs.errors import RootKeyError, UnsealError
from secretfs.store.base import Conflict, Guard, Item, Put, Store

KEYRING: Final = "cluster/keyring"
_ID: Final = "cluster/id"


async def cluster(store: Store, root_key: bytes) -> Keys:
    """The keys of the store. Raises: RootKeyError if the root key is another one, CorruptRecordError, StoreError."""
    while True:
        found = await store.get(_ID)
        if found is not None:
            cluster_id = found.value.decode("ascii", "replace")
            if not is_id(cluster_id):
                raise corrupt(_ID)
            keys = _opened(await keyring_item(store), root_key, cluster_id)
            keys.left = await swarm_left(store)
            return keys
        cluster_id, opened = id_from(os.urandom(16)), OpenKeyring(Keyring.fresh())
        swarm = Put(SWARM, encode(fresh_swarm(time.time_ns())))
        ops = [Put(_ID, cluster_id.encode()), Put(KEYRING, sealed(opened, root_key, cluster_id)), swarm]
        made = await store.commit([Guard(_ID, 0), Guard(KEYRING, 0)], ops)
        if not isinstance(made, Conflict):
            return Keys(root_key, cluster_id, opened)


async def keyring_item(store: Store) -> Item:
    """The record of the keyring. Raises: CorruptRecordError."""
    item = await store.get(KEYRING)
    if item is None:
        raise corrupt(KEYRING)
    return item


def _opened(item: Item, root_key: bytes, cluster_id: str) -> Keys:
    try:
        return Keys.of_record(item.value, root_key, cluster_id)
    except UnsealError as exc:
        raise RootKeyError(f"{exc}: start the daemon with the --root-key that this store was made with") from None
