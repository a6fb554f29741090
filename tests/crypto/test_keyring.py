import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.crypto.envelope import KeyEncryptionKey
from secretfs.crypto.keyring import Keyring
from secretfs.errors import UnsealError

ROOT, OTHER_ROOT = bytes(32), bytes(31) + b"\1"
NOT_OPENED = "the keyring could not be opened: the root key is another one, or its bytes were changed"


def refused(sealed: bytes, root: bytes = ROOT, cluster: str = "c") -> str:
    with pytest.raises(UnsealError) as caught:
        Keyring.unsealed(sealed, root, cluster)
    return str(caught.value)


@pytest.mark.parametrize("rotations", range(4))
def test_sealed_keyring_opens_with_all_its_keys(rotations: int) -> None:
    keyring = Keyring.fresh()
    for _ in range(rotations):
        keyring = keyring.rotated()
    again = Keyring.unsealed(keyring.sealed(ROOT, "c"), ROOT, "c")
    assert dict(again) == dict(keyring)
    assert len(again) == rotations + 1
    assert again.active == keyring.active


def test_rotation_adds_a_key_that_is_active_and_keeps_the_others() -> None:
    old = Keyring.fresh()
    new = old.rotated()
    assert new.active not in old.values()
    assert new[old.active.key_id] == old.active
    assert len(old) == 1


def test_a_key_that_wraps_nothing_is_dropped_and_never_the_active_one() -> None:
    old = Keyring.fresh()
    new = old.rotated()
    assert list(new.without(old.active.key_id)) == [new.active.key_id]
    with pytest.raises(ValueError, match="the active key is not in the keyring"):
        new.without(new.active.key_id)


def test_another_root_key_or_cluster_is_refused() -> None:
    sealed = Keyring.fresh().sealed(ROOT, "c")
    assert refused(sealed, OTHER_ROOT) == NOT_OPENED
    assert refused(sealed, ROOT, "d") == NOT_OPENED


@given(st.data(), st.integers(1, 255))
def test_every_flipped_byte_is_refused(data: st.DataObject, mask: int) -> None:
    changed = bytearray(Keyring.fresh().rotated().sealed(ROOT, "c"))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= mask
    assert refused(bytes(changed)) == NOT_OPENED


@given(st.binary(max_size=200))
def test_bytes_that_are_no_keyring_are_refused(garbage: bytes) -> None:
    assert refused(garbage) == NOT_OPENED
    assert refused(b"SFK1" + garbage) == NOT_OPENED


@given(st.data())
def test_a_keyring_that_was_cut_is_refused(data: st.DataObject) -> None:
    sealed = Keyring.fresh().rotated().sealed(ROOT, "c")
    assert refused(sealed[: data.draw(st.integers(0, len(sealed) - 1))]) == NOT_OPENED


def test_a_keyring_does_not_print_its_keys_and_seals_to_other_bytes_each_time() -> None:
    keyring = Keyring([KeyEncryptionKey(b"12345678", b"k" * 32)], b"12345678")
    assert repr(keyring) == "<Keyring of 1, active 3132333435363738>"
    assert keyring.sealed(ROOT, "c") != keyring.sealed(ROOT, "c")
    assert b"k" * 32 not in keyring.sealed(ROOT, "c")
