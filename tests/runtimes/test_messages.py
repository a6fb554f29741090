"""The messages of the attach socket are what the whole of ``json`` would make of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.runtimes.messages import decoded, encoded

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.text(st.characters(categories=["Cs"]))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(VALUES)
def test_what_is_sent_is_json(value):
    assert json.loads(encoded(value)) == json.loads(json.dumps(value))


@given(VALUES | st.floats(allow_nan=False))
def test_what_comes_is_read_as_json(value):
    assert decoded(json.dumps(value).encode()) == json.loads(json.dumps(value))


@given(st.binary(max_size=20) | st.text(st.sampled_from('{}[]",:01aeflnrstu\\'), max_size=20).map(str.encode))
def test_nonsense_is_refused_as_json_does(packet):
    try:
        value = decoded(packet)
    except (ValueError, RecursionError):
        return
    assert json.loads(packet) == value or value != value  # NaN


@pytest.mark.parametrize("packet", [b"", b"{", b"{}{}", b'{"a": []', b"[" * 100_000, b"\xff"])
def test_nonsense_is_a_value_error_or_too_deep(packet):
    with pytest.raises((ValueError, RecursionError)):
        decoded(packet)


def test_what_is_no_message_is_not_sent():
    with pytest.raises(TypeError):
        encoded({"a": 1.5})
