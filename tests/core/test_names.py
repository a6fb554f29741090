import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.core.names import (
    Kind,
    folded,
    id_from,
    is_id,
    parse_object_name,
    parse_service_name,
)
from secretfs.errors import InvalidNameError

ALPHANUMERIC = string.ascii_letters + string.digits
INVALID = "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("text", ["a", "A9", "my_secret_data", "a.b-c_d", "a..b", "x" * 64, "0"])
def test_object_name_is_kept_as_given(kind: Kind, text: str) -> None:
    assert parse_object_name(kind, text) == text


@pytest.mark.parametrize("kind", Kind)
def test_empty_object_name_is_refused(kind: Kind) -> None:
    with pytest.raises(InvalidNameError) as caught:
        parse_object_name(kind, "")
    assert str(caught.value) == "name must be provided"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    "text",
    [
        "x" * 65,
        "-a",
        "a-",
        ".a",
        "a.",
        "_a",
        "a_",
        "a b",
        " a",
        "a ",
        "a\n",
        "a/b",
        "..",
        "é",
        "aé",
        "٣",
        "a\0b",
        "\u212a",
    ],
)
def test_other_object_name_is_refused_with_docker_text(kind: Kind, text: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        parse_object_name(kind, text)
    assert str(caught.value) == INVALID


@given(st.text(ALPHANUMERIC + "-_. \n/é", max_size=70))
def test_object_name_is_taken_exactly_when_the_rule_says_so(text: str) -> None:
    right = (
        1 <= len(text) <= 64
        and set(text) <= set(ALPHANUMERIC + "-_.")
        and text[0] in ALPHANUMERIC
        and text[-1] in ALPHANUMERIC
    )
    try:
        assert parse_object_name(Kind.SECRET, text) == text
    except InvalidNameError:
        assert not right
    else:
        assert right


@pytest.mark.parametrize("text", ["web", "a", "a-b", "a_b", "a-_-b", "A0", "x" * 63])
def test_service_name_is_kept_as_given(text: str) -> None:
    assert parse_service_name(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "meta: name must be provided"),
        ("a.b", "name must be valid as a DNS name component"),
        ("-a", "name must be valid as a DNS name component"),
        ("a_", "name must be valid as a DNS name component"),
        ("a\n", "name must be valid as a DNS name component"),
        ("é", "name must be valid as a DNS name component"),
        ("x" * 64, "name must be 63 characters or fewer"),
    ],
)
def test_service_name_is_refused_with_docker_text(text: str, message: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        parse_service_name(text)
    assert str(caught.value) == message


def test_service_name_rule_takes_no_exponential_time() -> None:
    began = time.process_time()
    with pytest.raises(InvalidNameError):
        parse_service_name("a" * 100_000 + "!")
    assert time.process_time() - began < 1


@given(st.binary(min_size=16, max_size=16))
def test_id_is_25_digits_and_tells_its_bytes(random: bytes) -> None:
    text = id_from(random)
    assert is_id(text)
    assert int(text, 36) == int.from_bytes(random, "big")


@pytest.mark.parametrize(
    ("random", "text"),
    [(bytes(16), "0" * 25), (b"\xff" * 16, "f5lxx1zz5pnorynqglhzmsp33"), (bytes(15) + b"\x24", "0" * 23 + "10")],
)
def test_id_vectors(random: bytes, text: str) -> None:
    assert id_from(random) == text


def test_id_is_made_of_16_bytes_only() -> None:
    with pytest.raises(ValueError, match="an id is made of 16 bytes, not 15"):
        id_from(bytes(15))


@pytest.mark.parametrize("text", ["", "a" * 24, "a" * 26, "A" * 25, "a" * 24 + "-", "a" * 25 + "\n"])
def test_another_text_is_no_id(text: str) -> None:
    assert not is_id(text)


@given(st.text(ALPHANUMERIC + "-_."))
def test_folded_names_are_equal_exactly_without_regard_to_case(name: str) -> None:
    assert folded(name) == folded(name.upper()) == folded(name.lower()) == folded(folded(name))


def test_folding_touches_no_letter_outside_ascii() -> None:
    assert folded("\u212a") == "\u212a"  # the Kelvin sign: str.lower() makes it a k
