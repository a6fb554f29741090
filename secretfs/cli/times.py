"""Times for people, as docker shows them. Rule: whole nanoseconds in, text out; the clock is an argument.

``datetime`` keeps microseconds and is slow to import, so the arithmetic is here.
"""

import re

_NANOSECONDS = 1_000_000_000
_DAY_SECONDS = 24 * 60 * 60
_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def nanoseconds(stamp: str) -> int | None:
    """An RFC 3339 time as nanoseconds since 1970, or None when it is none."""
    parsed = _RFC_3339.fullmatch(stamp)
    if parsed is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in parsed.groups()[:6])
    seconds = _days(year, month, day) * _DAY_SECONDS + hour * 3600 + minute * 60 + second
    if parsed[8]:
        offset = int(parsed[9]) * 3600 + int(parsed[10]) * 60
        seconds -= offset if parsed[8] == "+" else -offset
    return seconds * _NANOSECONDS + int((parsed[7] or "").ljust(9, "0"))


def ago(stamp: str, now_ns: int) -> str:
    """``2 minutes ago``; nothing for what is no time."""
    at_ns = nanoseconds(stamp)
    return "" if at_ns is None else f"{duration((now_ns - at_ns) // _NANOSECONDS)} ago"


def duration(seconds: int) -> str:
    """How long, in docker's words (docker/go-units, HumanDuration)."""
    if seconds < 60:
        return {0: "Less than a second", 1: "1 second"}.get(max(seconds, 0), f"{seconds} seconds")
    minutes, hours = seconds // 60, (seconds + 1800) // 3600
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{seconds // 3600 // 24 // 365} years"


def spelled(stamp: str) -> str:
    """``2026-11-23 18:28:49.623343003 +0000 utc``, as docker's inspect --pretty has it."""
    parsed = _RFC_3339.fullmatch(stamp)
    if parsed is None or parsed[8]:
        return stamp
    return f"{stamp[:10]} {stamp[11:-1]} +0000 utc"


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; the year begins in March, so leap days come last."""
    shifted, moved = (year, month - 3) if month > 2 else (year - 1, month + 9)
    before = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    return before + (153 * moved + 2) // 5 + day - 1 - 719468
