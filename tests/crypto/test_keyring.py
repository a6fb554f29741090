import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.crypto.envelope import KeyEncryptionKey
from secretfs.crypto.keyring import Keyring


@pytest.mark.parametrize("rotations", range(4))
def test_a_keyring_is_the_same_after_it_was_bytes(rotations: int) -> None:
    keyring = Keyring.fresh()
    for _ in range(rotations):
        keyring = keyring.rotated()
    again = Keyring.from_bytes(keyring.to_bytes())
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


@given(st.data())
def test_bytes_that_were_cut_are_no_keyring(data: st.DataObject) -> None:
    plain = Keyring.fresh().to_bytes()
    with pytest.raises(ValueError, match="a keyring is not"):
        Keyring.from_bytes(plain[: data.draw(st.integers(0, len(plain) - 1))])


def test_bytes_whose_active_key_is_not_among_them_are_no_keyring() -> None:
    with pytest.raises(ValueError, match="the active key is not in the keyring"):
        Keyring.from_bytes(bytearray(b"12345678") + Keyring.fresh().to_bytes()[8:])


def test_a_keyring_does_not_print_its_keys() -> None:
    keyring = Keyring([KeyEncryptionKey(b"12345678", b"k" * 32)], b"12345678")
    assert repr(keyring) == "<Keyring of 1, active 3132333435363738>"
    assert "kkk" not in repr(keyring.active)
