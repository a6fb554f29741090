"""Durations on the command line, as Go writes them. Rule: a number without a unit is refused, but 0."""

import re

from secretfs.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def seconds(text: str, *, flag: str) -> float:
    """The seconds in ``30s``, ``1m30s``, ``500ms``, ``1.5h`` or ``0``. Raises: UsageError, with Go's text."""
    if text == "0":
        return 0.0
    if not _WHOLE.fullmatch(text):
        known = f'missing unit in duration "{text}"' if text.isdecimal() else f'invalid duration "{text}"'
        raise UsageError(f'invalid argument "{text}" for "{flag}" flag: time: {known}')
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
