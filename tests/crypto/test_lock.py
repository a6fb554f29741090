import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secretfs.crypto.keyring import Keyring
from secretfs.crypto.lock import OpenKeyring, UnlockKey, sealed, unsealed
from secretfs.errors import BadRequestError, UnsealError, WrongUnlockKeyError

ROOT, OTHER_ROOT = bytes(32), bytes(31) + b"\1"
KEY = UnlockKey(b"u" * 32)
NOT_OPENED = "the keyring could not be opened: the root key is another one, or its bytes were changed"
RING = Keyring.fresh().rotated()
FORMS = {
    b"SFK1": OpenKeyring(RING),
    b"SFK2": OpenKeyring(RING, KEY, seen=True),
    b"SFK3": OpenKeyring(RING, KEY),
}

each_form = pytest.mark.parametrize("form", FORMS)


def record_of(form: bytes) -> bytes:
    return sealed(FORMS[form], ROOT, "c")


def refused(record: bytes, root: bytes = ROOT, cluster: str = "c", key: UnlockKey | None = KEY) -> str:
    with pytest.raises(UnsealError) as caught:
        unsealed(record, root, cluster, key)
    return str(caught.value)


@each_form
def test_each_form_opens_as_what_was_sealed(form: bytes) -> None:
    record = record_of(form)
    assert record[:4] == form
    found = unsealed(record, ROOT, "c", KEY)
    assert found is not None
    assert dict(found.keyring) == dict(RING)
    assert found.keyring.active == RING.active
    assert (found.unlock_key, found.seen) == (FORMS[form].unlock_key, FORMS[form].seen)


@each_form
def test_only_a_key_that_somebody_has_seen_is_needed(form: bytes) -> None:
    assert (unsealed(record_of(form), ROOT, "c") is None) is (form == b"SFK2")


@each_form
def test_another_root_key_or_cluster_is_refused_whatever_unlock_key_is_given(form: bytes) -> None:
    record = record_of(form)
    for key in (None, KEY):
        assert refused(record, OTHER_ROOT, key=key) == NOT_OPENED
        assert refused(record, cluster="d", key=key) == NOT_OPENED


@pytest.mark.parametrize("wrong", [b"v" * 32, bytes(32), ROOT, b"", b"u" * 31, b"u" * 33])
def test_another_unlock_key_is_refused_as_such(wrong: bytes) -> None:
    with pytest.raises(WrongUnlockKeyError, match=r"^swarm could not be unlocked: invalid key provided$"):
        unsealed(record_of(b"SFK2"), ROOT, "c", UnlockKey(wrong))


@each_form
@given(data=st.data(), mask=st.integers(1, 255))
def test_every_flipped_byte_is_refused(form: bytes, data: st.DataObject, mask: int) -> None:
    changed = bytearray(record_of(form))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= mask
    assert refused(bytes(changed)) == NOT_OPENED


@each_form
@given(data=st.data())
def test_a_record_that_was_cut_is_refused(form: bytes, data: st.DataObject) -> None:
    record = record_of(form)
    assert refused(record[: data.draw(st.integers(0, len(record) - 1))]) == NOT_OPENED


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_are_refused(garbage: bytes) -> None:
    for form in (b"", *FORMS):
        assert refused(form + garbage) == NOT_OPENED


@each_form
def test_no_form_opens_as_another(form: bytes) -> None:
    for other in FORMS:
        if other != form:
            assert refused(other + record_of(form)[4:]) == NOT_OPENED


@each_form
def test_a_record_holds_no_key_in_the_clear_and_other_bytes_each_time(form: bytes) -> None:
    record = record_of(form)
    assert record != record_of(form)
    assert not any(key.key in record for key in RING.values())
    assert KEY.key not in record


def test_an_unlock_key_is_32_random_bytes_in_swarms_letters_and_does_not_print_itself() -> None:
    key = UnlockKey.fresh()
    assert len(key.key) == 32
    assert key != UnlockKey.fresh()
    text = key.text()
    assert text.startswith("SWMKEY-1-")
    assert "=" not in text
    assert len(text) == 9 + 43
    assert repr(key) == "UnlockKey()"
    assert text[9:] not in repr(OpenKeyring(RING, key))


@given(st.binary(min_size=32, max_size=32))
@example(b"\xff" * 32)
@example(b"\xfb\xef\xbe" * 10 + b"ab")
def test_an_unlock_key_is_read_as_it_was_written(key: bytes) -> None:
    assert UnlockKey.parse(UnlockKey(key).text()) == UnlockKey(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "SWMKEY-1",
        "swmkey-1-AAAA",
        "SWMKEY-2-AAAA",
        *(f"SWMKEY-1-{end}" for end in ("A", "AA==", "A_-A", "é")),
    ],
)
def test_what_is_no_unlock_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(BadRequestError, match=r"^invalid key string$"):
        UnlockKey.parse(text)


@given(st.text())
def test_any_text_is_a_key_or_refused(text: str) -> None:
    with contextlib.suppress(BadRequestError):
        assert UnlockKey.parse("SWMKEY-1-" + text).text().startswith("SWMKEY-1-")
