"""Variables in compose files: what each form gives, what is refused, and that nothing is looked at in vain."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.core.compose.interpolate import MAX_NESTING, Interpolation
from secretfs.errors import ComposeError

VARIABLES = {"A": "aa", "EMPTY": "", "_x1": "under", "DOLLAR": "$A", "BRACE": "}", "BYTES": "a\udcff"}


def text(template: str) -> str:
    return Interpolation(VARIABLES).text(template)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("none", "none"),
        ("a}b{c", "a}b{c"),
        ("$A", "aa"),
        ("${A}", "aa"),
        ("x${A}y$A", "xaayaa"),
        ("$_x1-", "under-"),
        ("$A-x", "aa-x"),
        ("$A:-x", "aa:-x"),
        ("$A.b", "aa.b"),
        ("$$A", "$A"),
        ("$$$A", "$aa"),
        ("$$$$", "$$"),
        ("${UNSET}", ""),
        ("${EMPTY}", ""),
        ("${UNSET-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${A-w}", "aa"),
        ("${UNSET:-w}", "w"),
        ("${EMPTY:-w}", "w"),
        ("${A:-w}", "aa"),
        ("${UNSET-}", ""),
        ("${UNSET+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${A+w}", "w"),
        ("${UNSET:+w}", ""),
        ("${EMPTY:+w}", ""),
        ("${A:+w}", "w"),
        ("${A?w}", "aa"),
        ("${EMPTY?w}", ""),
        ("${A:?w}", "aa"),
        ("${UNSET:-${A}}", "aa"),
        ("${UNSET:-x$A-${EMPTY:-${A:+deep}}y}", "xaa-deepy"),
        ("${A:-${UNSET:?not needed}}", "aa"),
        ("${UNSET:+${UNSET:?not needed}}", ""),
        ("${UNSET:-$$}", "$"),
        ('${UNSET:-{"a":1}}', '{"a":1}'),
        ("${UNSET:-a:-b?c}", "a:-b?c"),
        ("${DOLLAR}", "$A"),
        ("${UNSET-${BRACE}}", "}"),
    ],
)
def test_a_variable_is_replaced(template: str, expected: str) -> None:
    assert text(template) == expected


@pytest.mark.parametrize(
    "template",
    ["$", "x$", "$1", "$-", "$ {A}", "${", "${}", "${1}", "${A", "${A-", "${A-${B}", "${A!}", "${A b}", "${-x}", "$é"],
)
def test_a_dollar_that_begins_no_variable_is_refused_without_the_value(template: str) -> None:
    with pytest.raises(ComposeError) as refused:
        text(f"password{template}")
    assert str(refused.value) == "invalid interpolation format: a $ that begins no variable is written $$"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("${UNSET?}", "required variable UNSET is missing a value: "),
        ("${UNSET:?say it}", "required variable UNSET is missing a value: say it"),
        ("${EMPTY:?say $A}", "required variable EMPTY is missing a value: say aa"),
        ("$BYTES", "variable BYTES is not UTF-8"),
        ("${UNSET:-${BYTES}}", "variable BYTES is not UTF-8"),
        ("${BYTES:-x}", "variable BYTES is not UTF-8"),
        ("${A:+${UNSET?x}}", "required variable UNSET is missing a value: x"),
        ("${A-" * (MAX_NESTING + 1), f"variables are nested deeper than {MAX_NESTING}"),
    ],
)
def test_a_missing_value_is_refused_with_its_word(template: str, reason: str) -> None:
    with pytest.raises(ComposeError) as refused:
        text(template)
    assert str(refused.value) == reason


def test_variables_that_are_not_set_are_known_when_nobody_said_what_then() -> None:
    interpolation = Interpolation(VARIABLES)
    interpolation.text("$ONE ${TWO} ${THREE-} ${FOUR:+x} ${A:-$FIVE} ${EMPTY} $ONE")
    assert list(interpolation.unset) == ["ONE", "TWO"]


def test_what_all_values_are_together_is_bounded() -> None:
    interpolation = Interpolation({"BIG": "x" * 1_000_000})
    with pytest.raises(ComposeError, match="too large"):
        interpolation.text("$BIG" * 10)


LONG = {
    "word without an end": "${U:-" + "$A" * 500_000,
    "words in words": "${U:-" * 30 + "$A" * 500_000 + "}" * 30,
    "dollars": "$" * 1_000_001,
    "braces": "${A+" + "}$" * 500_000,
}


@pytest.mark.parametrize("template", LONG.values(), ids=LONG)
def test_a_long_text_takes_time_in_proportion(template: str) -> None:
    began = time.monotonic()
    with contextlib.suppress(ComposeError):
        text(template)
    assert time.monotonic() - began < 10


PIECES = st.lists(
    st.sampled_from(["$", "{", "}", ":", "-", "?", "+", "A", "EMPTY", "U", "BYTES", "$$", "${", "${A:-", " ", "é"])
)


@settings(max_examples=500, deadline=1000)
@given(PIECES.map("".join) | st.text(max_size=200))
def test_any_text_is_replaced_or_refused(template: str) -> None:
    try:
        out = text(template)
    except ComposeError:
        assert "$" in template
    else:
        assert "$" in template or out == template


@given(st.text())
def test_doubled_dollars_are_the_text(plain: str) -> None:
    assert text(plain.replace("$", "$$")) == plain
