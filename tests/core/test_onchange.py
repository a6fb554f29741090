"""What a service may do on a change: parsed, or refused in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.core.onchange import MAX_COMMAND_BYTES, Command, Signal, parse_on_change
from secretfs.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", None),
        ("signal:HUP", Signal(1)),
        ("signal:SIGUSR1", Signal(10)),
        ("signal:winch", Signal(28)),
        ("exec:nginx -s reload", Command("nginx -s reload")),
        ("exec: a:b", Command(" a:b")),
    ],
)
def test_what_can_be_done(text, meant):
    assert parse_on_change(text) == meant


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("HUP", "it is signal:NAME or exec:COMMAND"),
        ("Signal:HUP", "it is signal:NAME or exec:COMMAND"),
        ("signal:KILL", "invalid signal 'KILL' of on-change: it is one of HUP, INT"),
        ("signal:1", "invalid signal '1'"),
        ("exec:", "needs a command"),
        ("exec: \n", "needs a command"),
        ("exec:a\0b", "needs a command"),
        ("exec:" + "x" * (MAX_COMMAND_BYTES + 1), "longer than 2048 bytes"),
    ],
)
def test_what_cannot_be_done_is_refused(text, complaint):
    with pytest.raises(InvalidArgumentError, match=complaint):
        parse_on_change(text)


@given(st.text())
def test_any_text_is_parsed_or_refused(text):
    try:
        parse_on_change(text)
    except InvalidArgumentError:
        assert text
