import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.core.csv import parse_record
from secretfs.errors import InvalidGrantError


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a,", ["a", ""]),
        (",", ["", ""]),
        (" a , b ", [" a ", " b "]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a""b"', ['a"b']),
        ('""', [""]),
        ('"a\nb"', ["a\nb"]),
        ("a,b\nc,d", ["a", "b"]),
        ("a,b\r\n", ["a", "b"]),
        ("\n\r\na", ["a"]),
    ],
)
def test_record_is_read_as_go_reads_it(text: str, fields: list[str]) -> None:
    assert parse_record(text) == fields


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF"),
        ("\n", "EOF"),
        ('a"b', 'parse error on line 1, column 2: bare " in non-quoted field'),
        ('x,a"', 'parse error on line 1, column 4: bare " in non-quoted field'),
        ('"a', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('"a"b', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('"a\n"b', 'parse error on line 2, column 1: extraneous or missing " in quoted-field'),
    ],
)
def test_what_go_refuses_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidGrantError) as caught:
        parse_record(text)
    assert str(caught.value) == message


@given(st.lists(st.text(st.characters(blacklist_characters="\r\0", blacklist_categories=["Cs"])), min_size=1))
def test_what_is_quoted_comes_back(fields: list[str]) -> None:
    record = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert parse_record(record) == fields
    assert next(csv.reader([record], strict=True)) == fields


@given(st.text('ab",\r\n='))
def test_any_text_is_fields_or_a_refusal(text: str) -> None:
    try:
        fields = parse_record(text)
    except InvalidGrantError:
        return
    assert fields
