"""Values on their way into the store and, still sealed, on their way to fs. Rule: control sees the plaintext
of a secret only while it is created.

Two exceptions open a stored value into a buffer that is wiped: whether a value is the stored one (nothing has to
change then), and a rollback, as a version's number is part of its seal. Configs are no secrets: whoever may use the
API reads them.
"""

import hmac

from secretfs.control.keys import Keys
from secretfs.control.ports import Sealed
from secretfs.control.records.objects import OBJECTS, ciphertext_key, wrapped_key_key
from secretfs.core.names import Kind, ObjectId
from secretfs.core.plan import VersionRef
from secretfs.crypto.envelope import OVERHEAD_BYTES, seal, unseal_into, unwrap_key, value_context, wipe, wrap_key
from secretfs.errors import NotFoundError, UnsealError
from secretfs.store.base import Put, Store


class Values:
    """The sealed values of one store under its keys."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._cluster_id = keys.cluster_id

    def puts(self, kind: Kind, content: VersionRef, value: bytes | bytearray | memoryview) -> tuple[Put, Put]:
        """Seal the value: the operations that store it. Wiping it is up to the caller.

        To be called while a change is decided (``Commits.change``): so no key is dropped between seal and commit.
        Raises: LockedError.
        """
        context = value_context(self._cluster_id, kind, content.object_id, content.number)
        sealed = seal(value, context=context, kek=self._keys.keyring.active)
        return (
            Put(wrapped_key_key(content), sealed.wrapped_key),
            Put(ciphertext_key(content), sealed.ciphertext),
        )

    def rewrapped(self, kind: Kind, content: VersionRef, wrapped: bytes) -> Put:
        """The version's data key under the active key. Raises: UnsealError, LockedError."""
        context = value_context(self._cluster_id, kind, content.object_id, content.number)
        keyring = self._keys.keyring
        data_key = unwrap_key(wrapped, context=context, keyring=keyring)
        try:
            return Put(wrapped_key_key(content), wrap_key(data_key, context=context, kek=keyring.active), erase=True)
        finally:
            wipe(data_key)

    async def sealed(self, content: VersionRef) -> Sealed:
        """The version as fs takes it. Raises: NotFoundError, CorruptRecordError, UnsealError, LockedError."""
        self._keys.check()
        kind = await self._kind_of(content.object_id)
        wrapped = await self._bytes_of(wrapped_key_key(content), content)
        ciphertext = await self._bytes_of(ciphertext_key(content), content)
        context = value_context(self._cluster_id, kind, content.object_id, content.number)
        try:
            data_key = unwrap_key(wrapped, context=context, keyring=self._keys.keyring)
        except UnsealError as exc:
            raise UnsealError(f"version {content.number} of {kind.value} {content.object_id}: {exc}") from None
        return Sealed(data_key, ciphertext, context)

    async def equal(self, content: VersionRef, value: bytes | bytearray | memoryview) -> bool:
        """Whether the stored value is this one. Raises: as sealed."""
        plain = await self.opened(content)
        try:
            return hmac.compare_digest(plain, value)
        finally:
            wipe(plain)

    async def opened(self, content: VersionRef) -> bytearray:
        """The value itself; the caller wipes it. Raises: as sealed."""
        sealed = await self.sealed(content)
        plain = bytearray(max(0, len(sealed.ciphertext) - OVERHEAD_BYTES))
        try:
            unseal_into(sealed.data_key, sealed.ciphertext, sealed.context, plain)
        except BaseException:
            wipe(plain)
            raise
        finally:
            wipe(sealed.data_key)
        return plain

    async def _kind_of(self, object_id: ObjectId) -> Kind:
        for kind, noun in OBJECTS.items():
            if await self._store.get(noun.key(object_id)) is not None:
                return kind
        raise NotFoundError(f"object {object_id} not found")

    async def _bytes_of(self, key: str, content: VersionRef) -> bytes:
        item = await self._store.get(key)
        if item is None:
            raise NotFoundError(f"object {content.object_id} has no version {content.number}")
        return item.value
