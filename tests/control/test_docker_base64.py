"""Values in base64 inside JSON: what Go takes is taken, what it refuses is refused at the same byte."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.control.api.docker.base64 import decoded_string
from secretfs.errors import BadRequestError


def decoded(text: str) -> bytearray:
    return decoded_string(memoryview(text.encode()))


@given(st.binary(max_size=20_000))
def test_what_was_encoded_comes_back(value):
    assert decoded(f'"{base64.b64encode(value).decode()}"') == value


@given(st.binary(max_size=300))
def test_line_ends_and_escapes_are_undone(value):
    text = json.dumps(base64.encodebytes(value).decode()).replace("/", "\\/").replace("+", "\\u002b")
    assert decoded(text) == value


@pytest.mark.parametrize(
    ("text", "at"),
    [  # the offsets are those of Go's encoding/base64
        ("YQ", 0),
        ("YWJjYQ", 4),
        ("YQ=", 3),
        ("YQ=x", 2),
        ("=", 0),
        ("Y===", 1),
        ("YWJj YWJj", 4),
        ("-_-_", 0),
        ("ab_d", 2),
        ("YQ==YQ==", 4),
        ("YWJj\\u0000", 4),
        ("YWJj\\u00e9", 4),
        ("YWJj\\t", 4),
        ("ééé", 0),
    ],
)
def test_what_go_refuses_is_refused_at_the_same_byte(text, at):
    with pytest.raises(BadRequestError) as refusal:
        decoded(f'"{text}"')
    assert str(refusal.value) == f"invalid JSON: illegal base64 data at input byte {at}"


@given(st.text(st.sampled_from("AZaz09+/=\n\\u"), max_size=40))
def test_anything_else_is_taken_or_refused_and_nothing_else(text):
    try:
        value = decoded(json.dumps(text))
    except BadRequestError:
        return
    assert base64.b64decode(text.replace("\n", ""), validate=True) == value
