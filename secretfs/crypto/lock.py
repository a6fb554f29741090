"""How the keyring is kept. Rule: it opens with the root key, and with the unlock key as well once somebody has that.

One record, in three forms. Each layer is ``nonce [12] | AES-256-GCM(...) | tag [16]``, bound to its form and cluster::

    "SFK1" | root key( keyring )                   autolock is off
    "SFK2" | root key( unlock key( keyring ) )     autolock is on: both keys are needed
    "SFK3" | root key( unlock key | keyring )      autolock is on, and nobody was given the unlock key yet

The third form is there for a kill or a power cut between the change and the moment in which a person sees the key: a
store that is locked by a key that nobody has would be lost. The root key is the outer layer always, so that a wrong
one is found when the daemon starts, not when somebody unlocks it.
"""

import base64
import binascii
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secretfs.crypto.envelope import (
    KEY_BYTES,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    associated_data,
    fields,
    open_into,
    wipe,
)
from secretfs.crypto.keyring import Keyring
from secretfs.errors import BadRequestError, UnsealError, WrongUnlockKeyError

_PREFIX: Final = "SWMKEY-1-"  # swarmkit manager/encryption/encryption.go
_MAGIC_BYTES: Final = 4
_OFF, _ON, _UNSEEN = b"SFK1", b"SFK2", b"SFK3"
_PURPOSES: Final = {_OFF: "keyring", _ON: "locked keyring", _UNSEEN: "keyring with its unlock key"}
_INNER_PURPOSE: Final = "keyring under an unlock key"
_NOT_OPENED: Final = "the keyring could not be opened: the root key is another one, or its bytes were changed"


@dataclass(frozen=True, slots=True)
class UnlockKey:
    """What a person keeps: 32 random bytes."""

    key: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Self:
        """A new one."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that ``text()`` gave. Raises: BadRequestError, with Docker's text, which does not quote it."""
        encoded = text.removeprefix(_PREFIX)
        try:
            if encoded == text or "=" in encoded:
                raise ValueError
            return cls(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
        except (ValueError, binascii.Error):
            raise BadRequestError("invalid key string") from None

    def text(self) -> str:
        """``SWMKEY-1-`` and the bytes in unpadded standard base64, as Swarm writes it."""
        return _PREFIX + base64.b64encode(self.key).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class OpenKeyring:
    """What the record holds. No unlock key: autolock is off. ``seen``: somebody was given the unlock key."""

    keyring: Keyring
    unlock_key: UnlockKey | None = None
    seen: bool = False


def sealed(opened: OpenKeyring, root_key: bytes, cluster_id: str) -> bytes:
    """The record that ``unsealed`` opens; other bytes at each call."""
    unlock_key = opened.unlock_key
    plain = opened.keyring.to_bytes()
    try:
        if unlock_key is None:
            return _layer(_OFF, root_key, plain, cluster_id)
        if opened.seen:
            return _layer(_ON, root_key, _sealed(unlock_key.key, plain, _INNER_PURPOSE, cluster_id), cluster_id)
        with_key = bytearray(unlock_key.key) + plain
        try:
            return _layer(_UNSEEN, root_key, with_key, cluster_id)
        finally:
            wipe(with_key)
    finally:
        wipe(plain)


def unsealed(
    record: bytes, root_key: bytes, cluster_id: str, unlock_key: UnlockKey | None = None
) -> OpenKeyring | None:
    """What the record holds; None if it takes an unlock key and none is given.

    Raises: UnsealError: another root key or cluster, or changed bytes. WrongUnlockKeyError.
    """
    magic = record[:_MAGIC_BYTES]
    if magic not in _PURPOSES:
        raise UnsealError(_NOT_OPENED)
    try:
        plain = _unsealed(root_key, record[_MAGIC_BYTES:], _PURPOSES[magic], cluster_id)
    except UnsealError:
        raise UnsealError(_NOT_OPENED) from None
    try:
        return _FORMS[magic](plain, cluster_id, unlock_key)
    except ValueError:
        raise UnsealError(_NOT_OPENED) from None
    finally:
        wipe(plain)


def _plain(plain: bytearray, _: str, __: UnlockKey | None) -> OpenKeyring:
    return OpenKeyring(Keyring.from_bytes(plain))


def _locked(inner: bytearray, cluster_id: str, unlock_key: UnlockKey | None) -> OpenKeyring | None:
    if unlock_key is None:
        return None
    try:
        plain = _unsealed(unlock_key.key, inner, _INNER_PURPOSE, cluster_id)
    except UnsealError:
        raise WrongUnlockKeyError("swarm could not be unlocked: invalid key provided") from None
    try:
        return OpenKeyring(Keyring.from_bytes(plain), unlock_key, seen=True)
    finally:
        wipe(plain)


def _unseen(plain: bytearray, _: str, __: UnlockKey | None) -> OpenKeyring:
    with memoryview(plain) as view:
        return OpenKeyring(Keyring.from_bytes(view[KEY_BYTES:]), UnlockKey(bytes(view[:KEY_BYTES])))


_FORMS: Final[dict[bytes, Callable[[bytearray, str, UnlockKey | None], OpenKeyring | None]]] = {
    _OFF: _plain,
    _ON: _locked,
    _UNSEEN: _unseen,
}


def _layer(magic: bytes, key: bytes, plain: bytes | bytearray, cluster_id: str) -> bytes:
    return magic + _sealed(key, plain, _PURPOSES[magic], cluster_id)


def _sealed(key: bytes, plain: bytes | bytearray, purpose: str, cluster_id: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, associated_data(purpose, fields(cluster_id.encode())))


def _unsealed(key: bytes, layer: bytes | bytearray, purpose: str, cluster_id: str) -> bytearray:
    """What the layer holds; the caller wipes it. Raises: UnsealError."""
    plain = bytearray(max(0, len(layer) - OVERHEAD_BYTES))
    open_into(key, layer, associated_data(purpose, fields(cluster_id.encode())), plain)
    return plain
