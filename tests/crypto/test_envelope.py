from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.core.names import Kind, ObjectId
from secretfs.crypto.envelope import (
    KEY_BYTES,
    OVERHEAD_BYTES,
    WRAPPED_KEY_BYTES,
    KeyEncryptionKey,
    SealedValue,
    fields,
    seal,
    unseal_into,
    unwrap_key,
    value_context,
    wipe,
    wrap_key,
)
from secretfs.errors import UnsealError

KEK = KeyEncryptionKey(b"key id 1", bytes(range(32)))
OTHER_KEK = KeyEncryptionKey(b"key id 2", bytes(range(1, 33)))
KEYRING = {kek.key_id: kek for kek in (KEK, OTHER_KEK)}
A, B = ObjectId("a" * 25), ObjectId("b" * 25)
CONTEXT = value_context("cluster", Kind.SECRET, A, 1)
NOT_OPENED = "the value could not be opened: the key is wrong or its bytes were changed"

# Formats are frozen: written by the first release, these must open for ever.
VECTOR_WRAPPED = bytes.fromhex(
    "6b65792069642031def2cc5207974a2ad203673db9858d22d383e531e8620b33c44952991f71b94b3367a7d1"
    "4a4b9f417ebdb49e21adc784fd91d33904b61267c6ff1ca9"
)
VECTOR_CIPHERTEXT = bytes.fromhex(
    "c9b282f4d789baa82bfd3e3c4eb4094378b3c800be2945d0d26c348669e7118eda3799cde6cebf6094877f11"
)


def opened(sealed: SealedValue, context: bytes = CONTEXT) -> bytes:
    data_key = unwrap_key(sealed.wrapped_key, context=context, keyring=KEYRING)
    buffer = bytearray(len(sealed.ciphertext) - OVERHEAD_BYTES)
    assert unseal_into(data_key, sealed.ciphertext, context, buffer) == len(buffer)
    return bytes(buffer)


CONTEXTS = st.builds(
    value_context,
    st.sampled_from(["", "c", "cluster", "cluster1"]),
    st.sampled_from(Kind),
    st.sampled_from([A, B, ObjectId("")]),
    st.integers(1, 12),
)


@given(st.binary(min_size=1, max_size=5000), CONTEXTS, st.sampled_from([KEK, OTHER_KEK]))
def test_what_was_sealed_opens(value: bytes, context: bytes, kek: KeyEncryptionKey) -> None:
    sealed = seal(value, context=context, kek=kek)
    assert len(sealed.wrapped_key) == WRAPPED_KEY_BYTES == 68
    assert len(sealed.ciphertext) == len(value) + 28
    assert sealed.wrapped_key.startswith(kek.key_id)
    assert opened(sealed, context) == value


def test_the_first_releases_bytes_open() -> None:
    assert opened(SealedValue(VECTOR_WRAPPED, VECTOR_CIPHERTEXT)) == b"This is a secret"


@given(CONTEXTS, CONTEXTS)
def test_every_other_context_is_refused_for_the_key_and_for_the_value(mine: bytes, other: bytes) -> None:
    sealed = seal(b"value", context=mine, kek=KEK)
    if mine == other:
        return
    with pytest.raises(UnsealError):
        unwrap_key(sealed.wrapped_key, context=other, keyring=KEYRING)
    data_key = unwrap_key(sealed.wrapped_key, context=mine, keyring=KEYRING)
    buffer = bytearray(5)
    with pytest.raises(UnsealError) as caught:
        unseal_into(data_key, sealed.ciphertext, other, buffer)
    assert str(caught.value) == NOT_OPENED
    assert buffer == bytes(5)


SWAPS = {
    "other id": value_context("cluster", Kind.SECRET, B, 1),
    "other version": value_context("cluster", Kind.SECRET, A, 2),
    "other kind": value_context("cluster", Kind.CONFIG, A, 1),
    "other cluster": value_context("another", Kind.SECRET, A, 1),
    "id runs into version": value_context("cluster", Kind.SECRET, ObjectId(A + "1"), 1),
    "cluster runs into kind": value_context("clustersecret", Kind.SECRET, A, 1),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_each_swap_of_meaning_is_refused(swap: str) -> None:
    with pytest.raises(UnsealError):
        opened(seal(b"value", context=CONTEXT, kek=KEK), SWAPS[swap])


def test_the_data_key_of_one_does_not_open_the_payload_of_another() -> None:
    one, two = (seal(b"value", context=CONTEXT, kek=KEK) for _ in range(2))
    with pytest.raises(UnsealError):
        opened(SealedValue(one.wrapped_key, two.ciphertext))


def test_a_wrapped_key_is_not_read_as_a_value_nor_a_value_as_a_wrapped_key() -> None:
    wrapped = wrap_key(bytes(KEY_BYTES), context=CONTEXT, kek=KEK)
    with pytest.raises(UnsealError):
        unseal_into(KEK.key, wrapped[8:], CONTEXT, bytearray(KEY_BYTES))


def test_another_keys_id_on_a_wrapped_key_is_refused() -> None:
    wrapped = wrap_key(bytes(KEY_BYTES), context=CONTEXT, kek=KEK)
    same_key = {b"key id 3": KeyEncryptionKey(b"key id 3", KEK.key)}
    with pytest.raises(UnsealError):
        unwrap_key(b"key id 3" + wrapped[8:], context=CONTEXT, keyring=same_key)


def test_a_key_that_is_gone_is_refused_with_the_same_words() -> None:
    wrapped = wrap_key(bytes(KEY_BYTES), context=CONTEXT, kek=KEK)
    with pytest.raises(UnsealError) as caught:
        unwrap_key(wrapped, context=CONTEXT, keyring={})
    assert str(caught.value) == NOT_OPENED


@pytest.mark.parametrize("at", range(WRAPPED_KEY_BYTES))
def test_every_flipped_byte_of_a_wrapped_key_is_refused(at: int) -> None:
    sealed = seal(b"value", context=CONTEXT, kek=KEK)
    changed = bytearray(sealed.wrapped_key)
    changed[at] ^= 1
    with pytest.raises(UnsealError):
        opened(SealedValue(bytes(changed), sealed.ciphertext))


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=64), st.data(), st.integers(1, 255))
def test_every_flipped_byte_of_a_ciphertext_is_refused(value: bytes, data: st.DataObject, mask: int) -> None:
    sealed = seal(value, context=CONTEXT, kek=KEK)
    changed = bytearray(sealed.ciphertext)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= mask
    with pytest.raises(UnsealError):
        opened(SealedValue(sealed.wrapped_key, bytes(changed)))


@pytest.mark.parametrize("size", range(WRAPPED_KEY_BYTES))
def test_a_wrapped_key_that_is_too_short_is_refused(size: int) -> None:
    wrapped = wrap_key(bytes(KEY_BYTES), context=CONTEXT, kek=KEK)
    with pytest.raises(UnsealError):
        unwrap_key(wrapped[:size], context=CONTEXT, keyring=KEYRING)
    with pytest.raises(UnsealError):
        unwrap_key(wrapped + bytes(size + 1), context=CONTEXT, keyring=KEYRING)


@pytest.mark.parametrize("size", [0, 11, 27, 28, 30])
def test_a_ciphertext_that_is_too_short_is_refused(size: int) -> None:
    sealed = seal(b"value", context=CONTEXT, kek=KEK)
    data_key = unwrap_key(sealed.wrapped_key, context=CONTEXT, keyring=KEYRING)
    with pytest.raises(UnsealError):
        unseal_into(data_key, sealed.ciphertext[:size], CONTEXT, bytearray(5))


def test_a_data_key_of_another_length_is_refused() -> None:
    with pytest.raises(UnsealError):
        unseal_into(bytes(16), bytes(40), CONTEXT, bytearray(12))


def test_a_value_that_does_not_open_leaves_nothing_in_the_buffer() -> None:
    sealed = seal(b"value", context=CONTEXT, kek=KEK)
    data_key = unwrap_key(sealed.wrapped_key, context=CONTEXT, keyring=KEYRING)
    changed = bytearray(sealed.ciphertext)
    changed[-1] ^= 1  # of the tag: the bytes before it decrypt to the value
    buffer = bytearray(b"\xaa" * 8)
    with pytest.raises(UnsealError):
        unseal_into(data_key, changed, CONTEXT, buffer)
    assert buffer == bytes(5) + b"\xaa" * 3


def test_a_larger_buffer_keeps_its_end_and_a_smaller_one_is_an_error() -> None:
    sealed = seal(b"value", context=CONTEXT, kek=KEK)
    data_key = unwrap_key(sealed.wrapped_key, context=CONTEXT, keyring=KEYRING)
    buffer = bytearray(b"\xaa" * 8)
    assert unseal_into(data_key, memoryview(sealed.ciphertext), CONTEXT, memoryview(buffer)) == 5
    assert buffer == b"value\xaa\xaa\xaa"
    with pytest.raises(ValueError, match="the buffer has 4 bytes and the value 5"):
        unseal_into(data_key, sealed.ciphertext, CONTEXT, bytearray(4))


def test_no_two_seals_are_alike() -> None:
    seals = [seal(b"value", context=CONTEXT, kek=KEK) for _ in range(50)]
    assert len({s.wrapped_key for s in seals}) == len({s.ciphertext for s in seals}) == 50


def test_rewrapping_moves_a_value_to_another_key_without_touching_it() -> None:
    sealed = seal(b"value", context=CONTEXT, kek=KEK)
    data_key = unwrap_key(sealed.wrapped_key, context=CONTEXT, keyring=KEYRING)
    rewrapped = wrap_key(data_key, context=CONTEXT, kek=OTHER_KEK)
    buffer = bytearray(5)
    again = unwrap_key(rewrapped, context=CONTEXT, keyring={OTHER_KEK.key_id: OTHER_KEK})
    unseal_into(again, sealed.ciphertext, CONTEXT, buffer)
    assert buffer == b"value"


@given(st.lists(st.lists(st.binary(max_size=6), max_size=4), min_size=2, max_size=6))
def test_different_fields_are_different_bytes(rows: list[list[bytes]]) -> None:
    for one, two in combinations(rows, 2):
        assert (fields(*one) == fields(*two)) == (one == two)


def test_a_key_does_not_print_itself() -> None:
    assert KEK.key.hex() not in repr(KEK)
    assert repr(KEK) == "KeyEncryptionKey(key_id=b'key id 1')"


@pytest.mark.parametrize(("key_id", "key"), [(bytes(7), bytes(32)), (bytes(8), bytes(31))])
def test_a_key_of_another_length_cannot_be(key_id: bytes, key: bytes) -> None:
    with pytest.raises(ValueError, match="a key is 32 bytes and its id 8"):
        KeyEncryptionKey(key_id, key)


def test_wiping_leaves_zeros_of_the_same_length() -> None:
    buffer = bytearray(b"value")
    wipe(buffer)
    assert buffer == bytes(5)
