"""What control says before it can serve."""

from secretfs.control.main import _say
from secretfs.errors import RootKeyError, StoreError


def test_each_refusal_is_one_line_of_text(capfd):
    inner = BaseExceptionGroup("", [StoreError("the store\n\x9b2J is away")])
    _say(BaseExceptionGroup("", [RootKeyError("no key in '\x1b[2J'"), inner]))
    assert capfd.readouterr().err == (
        "secretfs: error: no key in '\\x1b[2J'\nsecretfs: error: the store\\n\\x9b2J is away\n"
    )
