"""What a terminal is never given."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.linux import terminal

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db", "db"),
        ("ключ 鍵 é", "ключ 鍵 é"),
        ("\x1b[2J\x1b]0;pwn\x07\r\nfake", r"\x1b[2J\x1b]0;pwn\x07\r\nfake"),
        ("a\x7f\x9b2Jb", r"a\x7f\x9b2Jb"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("\ta\0", r"\ta\x00"),
    ],
)
def test_what_could_be_more_than_text_is_escaped(text, shown):
    assert terminal.one_line(text) == shown


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    for char in terminal.one_line(text) + terminal.block(text).replace("\n", "").replace("\t", ""):
        assert unicodedata.category(char) != "Cc"
        assert char not in BIDI


def test_a_block_keeps_its_lines_and_tabs():
    assert terminal.block("a\tb\nc\r\n\x1b") == "a\tb\nc\\r\n\\x1b"


@given(st.text())
def test_json_means_the_same(text):
    shown = terminal.json_text(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text
    assert terminal.one_line(shown) == shown
