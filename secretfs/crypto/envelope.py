"""The envelope of one value. Rule: a ciphertext opens only as what it was sealed as, or not at all.

Each version of a value has a data key of its own, used once; the data key is wrapped by a key-encryption key.
The two results are separate records, so that a new key-encryption key rewrites 68 bytes and not the value::

    wrapped key   key id [8] | nonce [12] | data key [32] | tag [16]          68 bytes
    ciphertext    nonce [12] | value [n]  | tag [16]                          n + 28 bytes

Both are AES-256-GCM. The associated data is a row of fields, each after its length in 4 bytes, big end first:
``"secretfs" | format | purpose | cluster id | kind | object id | version``. The purpose keeps a wrapped key
from being read as a value; the rest is the *context*, which names the one place where the ciphertext may
stand.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secretfs.core.names import Kind, ObjectId
from secretfs.errors import UnsealError

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
WRAPPED_KEY_BYTES: Final = KEY_ID_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES
OVERHEAD_BYTES: Final = NONCE_BYTES + TAG_BYTES  # of a ciphertext over its value

_FORMAT: Final = b"1"
_NOT_OPENED: Final = "the value could not be opened: the key is wrong or its bytes were changed"


@dataclass(frozen=True, slots=True)
class KeyEncryptionKey:
    """Wraps data keys. Random 96-bit nonces: at most 2**32 wraps per key (NIST SP 800-38D, 8.3)."""

    key_id: bytes  # 8 bytes, random
    key: bytes = field(repr=False)  # 32 bytes

    def __post_init__(self) -> None:
        if len(self.key_id) != KEY_ID_BYTES or len(self.key) != KEY_BYTES:
            raise ValueError(f"a key is {KEY_BYTES} bytes and its id {KEY_ID_BYTES}")


@dataclass(frozen=True, slots=True)
class SealedValue:
    """The two records of a sealed value."""

    wrapped_key: bytes
    ciphertext: bytes = field(repr=False)


def fields(*parts: bytes) -> bytes:
    """The parts, each after its length: no two different rows of parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def value_context(cluster_id: str, kind: Kind, object_id: ObjectId, version: int) -> bytes:
    """What a value is bound to: which version of which object of which cluster."""
    return fields(cluster_id.encode(), kind.value.encode(), object_id.encode(), str(version).encode())


def associated_data(purpose: str, context: bytes) -> bytes:
    """What AES-GCM authenticates beside the ciphertext; the context is a row of fields already."""
    return fields(b"secretfs", _FORMAT, purpose.encode()) + context


def seal(value: bytes | bytearray | memoryview, *, context: bytes, kek: KeyEncryptionKey) -> SealedValue:
    """Seal the value under a fresh data key, and wrap that. Wiping the value is up to the caller."""
    data_key = bytearray(os.urandom(KEY_BYTES))
    try:
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = AESGCM(data_key).encrypt(nonce, value, associated_data("value", context))
        return SealedValue(wrap_key(data_key, context=context, kek=kek), nonce + ciphertext)
    finally:
        wipe(data_key)


def wrap_key(data_key: bytes | bytearray, *, context: bytes, kek: KeyEncryptionKey) -> bytes:
    """The 68 bytes of a wrapped data key. Also how a value goes over to a new key-encryption key."""
    nonce = os.urandom(NONCE_BYTES)
    wrapped = AESGCM(kek.key).encrypt(nonce, data_key, _wrap_data(kek.key_id, context))
    return kek.key_id + nonce + wrapped


def unwrap_key(wrapped: bytes, *, context: bytes, keyring: Mapping[bytes, KeyEncryptionKey]) -> bytearray:
    """The 32-byte data key; the caller wipes it. ``keyring`` finds key-encryption keys by id.

    Raises: UnsealError.
    """
    kek = keyring.get(wrapped[:KEY_ID_BYTES])
    if kek is None or len(wrapped) != WRAPPED_KEY_BYTES:
        raise UnsealError(_NOT_OPENED)
    data_key = bytearray(KEY_BYTES)
    open_into(kek.key, wrapped[KEY_ID_BYTES:], _wrap_data(kek.key_id, context), data_key)
    return data_key


def unseal_into(
    data_key: bytes | bytearray | memoryview,
    ciphertext: bytes | bytearray | memoryview,
    context: bytes,
    buffer: bytearray | memoryview,
) -> int:
    """Open the ciphertext straight into the first bytes of the buffer, and say how many they are.

    A buffer that is too small is a ValueError. When the value does not open, the buffer's part is wiped:
    AES-GCM decrypts before it knows. Raises: UnsealError.
    """
    return open_into(data_key, ciphertext, associated_data("value", context), buffer)


def open_into(
    key: bytes | bytearray | memoryview,
    sealed: bytes | bytearray | memoryview,
    associated: bytes,
    buffer: bytearray | memoryview,
) -> int:
    """As ``unseal_into``, with the whole associated data given; ``nonce[12] || ciphertext || tag[16]``."""
    size = len(sealed) - OVERHEAD_BYTES
    if size < 0 or len(key) != KEY_BYTES:
        raise UnsealError(_NOT_OPENED)
    if len(buffer) < size:
        raise ValueError(f"the buffer has {len(buffer)} bytes and the value {size}")
    whole = memoryview(sealed)
    with memoryview(buffer)[:size] as target:
        try:
            return AESGCM(key).decrypt_into(whole[:NONCE_BYTES], whole[NONCE_BYTES:], associated, target)
        except InvalidTag:
            wipe(target)
            raise UnsealError(_NOT_OPENED) from None


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite with zeros, in place."""
    with memoryview(buffer) as view:
        view[:] = bytes(len(view))


def _wrap_data(key_id: bytes, context: bytes) -> bytes:
    return associated_data("data key", fields(key_id) + context)
