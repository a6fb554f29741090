"""The cluster's id and its sealed keyring: made together by the first control that opens the store."""

import os

from secretfs.control.records.codec import corrupt
from secretfs.core.names import id_from, is_id
from secretfs.crypto.keyring import Keyring
from secretfs.errors import RootKeyError, UnsealError
from secretfs.store.base import Conflict, Guard, Put, Store

_ID = "cluster/id"
_KEYRING = "cluster/keyring"


async def cluster(store: Store, root_key: bytes) -> tuple[str, Keyring]:
    """Id and opened keyring. Raises: RootKeyError if the root key is another one, CorruptRecordError, StoreError."""
    while True:
        found = await store.get(_ID)
        if found is not None:
            cluster_id = found.value.decode("ascii", "replace")
            if not is_id(cluster_id):
                raise corrupt(_ID)
            return cluster_id, await _opened(store, root_key, cluster_id)
        cluster_id, keyring = id_from(os.urandom(16)), Keyring.fresh()
        ops = [Put(_ID, cluster_id.encode()), Put(_KEYRING, keyring.sealed(root_key, cluster_id))]
        made = await store.commit([Guard(_ID, 0), Guard(_KEYRING, 0)], ops)
        if not isinstance(made, Conflict):
            return cluster_id, keyring


async def _opened(store: Store, root_key: bytes, cluster_id: str) -> Keyring:
    item = await store.get(_KEYRING)
    if item is None:
        raise corrupt(_KEYRING)
    try:
        return Keyring.unsealed(item.value, root_key, cluster_id)
    except UnsealError as exc:
        raise RootKeyError(f"{exc}: start the daemon with the --root-key that this store was made with") from None
