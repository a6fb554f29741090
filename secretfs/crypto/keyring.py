"""The keyring, and the root key that seals it. Rule: a key-encryption key is in the clear only in here.

The keyring is a few key-encryption keys, one of them active: new data keys are wrapped by it, older ones are
opened by the others until everything is rewrapped. It is stored as one record, sealed by the root key::

    sealed keyring   "SFK1" | nonce [12] | AES-256-GCM(active id [8] | (id [8] | key [32]) ...) | tag [16]

The root key is never stored by secretfs beside it: ``rootkey`` reads it from where the administrator said.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secretfs.crypto.envelope import (
    KEY_BYTES,
    KEY_ID_BYTES,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    KeyEncryptionKey,
    associated_data,
    fields,
    open_into,
    wipe,
)
from secretfs.crypto.rootkey import root_key
from secretfs.errors import UnsealError

__all__ = ["Keyring", "root_key"]

_MAGIC: Final = b"SFK1"
_ENTRY_BYTES: Final = KEY_ID_BYTES + KEY_BYTES
_NOT_OPENED: Final = "the keyring could not be opened: the root key is another one, or its bytes were changed"


class Keyring(Mapping[bytes, KeyEncryptionKey]):
    """Key-encryption keys by id, one of them active. Never changed: a rotation makes another keyring."""

    __slots__ = ("_active", "_keys")

    def __init__(self, keys: Iterable[KeyEncryptionKey], active: bytes) -> None:
        self._keys = {key.key_id: key for key in keys}
        self._active = active
        if active not in self._keys:
            raise ValueError("the active key is not in the keyring")

    @classmethod
    def fresh(cls) -> Self:
        """A keyring with one new key."""
        key = _new_key()
        return cls([key], key.key_id)

    @classmethod
    def unsealed(cls, sealed: bytes, root_key: bytes, cluster_id: str) -> Self:
        """The keyring that was sealed. Raises: UnsealError: another root key or cluster, or changed bytes."""
        size = len(sealed) - len(_MAGIC) - OVERHEAD_BYTES
        if not sealed.startswith(_MAGIC) or size < KEY_ID_BYTES or (size - KEY_ID_BYTES) % _ENTRY_BYTES:
            raise UnsealError(_NOT_OPENED)
        plain = bytearray(size)
        try:
            open_into(root_key, sealed[len(_MAGIC) :], _associated(cluster_id), plain)
            return cls(_entries(plain), bytes(plain[:KEY_ID_BYTES]))
        except (UnsealError, ValueError):
            raise UnsealError(_NOT_OPENED) from None
        finally:
            wipe(plain)

    def sealed(self, root_key: bytes, cluster_id: str) -> bytes:
        """The record that ``unsealed`` opens; another one at each call."""
        plain = bytearray(self._active)
        for key in self._keys.values():
            plain += key.key_id + key.key
        try:
            nonce = os.urandom(NONCE_BYTES)
            return _MAGIC + nonce + AESGCM(root_key).encrypt(nonce, plain, _associated(cluster_id))
        finally:
            wipe(plain)

    @property
    def active(self) -> KeyEncryptionKey:
        """The key that wraps new data keys."""
        return self._keys[self._active]

    def rotated(self) -> Self:
        """The same with a new key, which is active; the others still open what they wrapped."""
        key = _new_key()
        return type(self)([*self._keys.values(), key], key.key_id)

    def without(self, key_id: bytes) -> Self:
        """The same without a key that wraps nothing any more; never the active one."""
        return type(self)((key for key in self._keys.values() if key.key_id != key_id), self._active)

    def __getitem__(self, key_id: bytes) -> KeyEncryptionKey:
        return self._keys[key_id]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring of {len(self)}, active {self._active.hex()}>"


def _new_key() -> KeyEncryptionKey:
    return KeyEncryptionKey(os.urandom(KEY_ID_BYTES), os.urandom(KEY_BYTES))


def _entries(plain: bytearray) -> Iterator[KeyEncryptionKey]:
    for at in range(KEY_ID_BYTES, len(plain), _ENTRY_BYTES):
        entry = bytes(plain[at : at + _ENTRY_BYTES])
        yield KeyEncryptionKey(entry[:KEY_ID_BYTES], entry[KEY_ID_BYTES:])


def _associated(cluster_id: str) -> bytes:
    return associated_data("keyring", fields(cluster_id.encode()))
