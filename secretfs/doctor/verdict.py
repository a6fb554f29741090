"""What a check says. Rule: a warning or a failure says what to do."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """``FAIL``: secretfs does not work, or protects less than it says. ``WARN``: look at it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``check`` is the name of the check; ``todo`` is empty when all is well."""

    check: str
    level: Level
    found: str
    todo: str = ""


def ok(check: str, found: str) -> Verdict:
    """Nothing to do."""
    return Verdict(check, Level.OK, found)


def warn(check: str, found: str, todo: str) -> Verdict:
    """It works, and could be better; or it could not be looked at."""
    return Verdict(check, Level.WARN, found, todo)


def fail(check: str, found: str, todo: str) -> Verdict:
    """It does not work."""
    return Verdict(check, Level.FAIL, found, todo)


def unseen(check: str, what: str) -> Verdict:
    """It could not be looked at: that needs root."""
    return warn(check, f"{what} cannot be looked at by this user", "run it as root: sudo secretfs doctor")
