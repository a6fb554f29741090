"""The keyring. Rule: a key-encryption key is in the clear only in here.

The keyring is a few key-encryption keys, one of them active: new data keys are wrapped by it, older ones are
opened by the others until everything is rewrapped. As bytes it is ``active id [8] | (id [8] | key [32]) ...``;
``lock`` seals these.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Self

from secretfs.crypto.envelope import KEY_BYTES, KEY_ID_BYTES, KeyEncryptionKey

_ENTRY_BYTES: Final = KEY_ID_BYTES + KEY_BYTES


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
    def from_bytes(cls, plain: bytearray | memoryview) -> Self:
        """The keyring that ``to_bytes`` gave; wiping them is up to the caller. Raises: ValueError."""
        entries, rest = divmod(len(plain) - KEY_ID_BYTES, _ENTRY_BYTES)
        if rest or entries < 1:
            raise ValueError(f"a keyring is not {len(plain)} bytes")
        return cls(_entries(plain), bytes(plain[:KEY_ID_BYTES]))

    def to_bytes(self) -> bytearray:
        """All of it, in the clear; the caller wipes them."""
        plain = bytearray(self._active)
        for key in self._keys.values():
            plain += key.key_id + key.key
        return plain

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


def _entries(plain: bytearray | memoryview) -> Iterator[KeyEncryptionKey]:
    for at in range(KEY_ID_BYTES, len(plain), _ENTRY_BYTES):
        entry = bytes(plain[at : at + _ENTRY_BYTES])
        yield KeyEncryptionKey(entry[:KEY_ID_BYTES], entry[KEY_ID_BYTES:])
