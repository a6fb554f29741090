"""What a service does when the secrets of a running task have changed. Rule: what cannot be done is refused when it is
asked for.
"""

from dataclasses import dataclass
from typing import Final

from secretfs.errors import InvalidArgumentError

MAX_COMMAND_BYTES: Final = 2048
_SIGNALS: Final = {"HUP": 1, "INT": 2, "QUIT": 3, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18, "WINCH": 28}


@dataclass(frozen=True, slots=True)
class Signal:
    """Send the task's leader a signal."""

    number: int


@dataclass(frozen=True, slots=True)
class Command:
    """Run a command for ``/bin/sh -c`` beside the task's leader."""

    text: str


OnChange = Signal | Command


def parse_on_change(text: str) -> OnChange | None:
    """``signal:HUP``, ``signal:SIGHUP``, ``exec:COMMAND``; nothing for an empty text. Raises: InvalidArgumentError."""
    kind, colon, what = text.partition(":")
    if not text:
        return None
    if colon and kind == "signal":
        number = _SIGNALS.get(what.upper().removeprefix("SIG"))
        if number is None:
            raise InvalidArgumentError(f"invalid signal {what!r} of on-change: it is one of {', '.join(_SIGNALS)}")
        return Signal(number)
    if colon and kind == "exec":
        return Command(_command(what))
    raise InvalidArgumentError(f"invalid on-change {text!r}: it is signal:NAME or exec:COMMAND")


def _command(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise InvalidArgumentError("invalid on-change: exec: needs a command for the shell, without a zero byte")
    if len(text.encode("utf-8", "surrogateescape")) > MAX_COMMAND_BYTES:
        raise InvalidArgumentError(f"invalid on-change: the command is longer than {MAX_COMMAND_BYTES} bytes")
    return text
