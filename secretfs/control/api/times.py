"""Times as Docker writes them."""

from datetime import UTC, datetime

_NS = 10**9
_TO_SECONDS = len("2026-01-01T00:00:00")


def rfc3339(time_ns: int) -> str:
    """RFC 3339 in UTC with as many digits of a second as it takes, up to nine."""
    seconds, ns = divmod(time_ns, _NS)
    digits = f".{ns:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:_TO_SECONDS]}{digits}Z"
