"""What control says on stderr: one JSON object per line. Rule: names, ids, numbers and the texts of errors;
never a value.

A line that cannot be written (a closed pipe, a full disk) is lost and nothing else: no task may miss its
secrets for a log.
"""

import contextlib
import json
import os
from datetime import UTC, datetime

_STDERR = 2


def info(event: str, **fields: object) -> None:
    """Say what happened."""
    _write("info", event, fields)


def warning(event: str, **fields: object) -> None:
    """Say what somebody should look at when it comes again."""
    _write("warning", event, fields)


def error(event: str, **fields: object) -> None:
    """Say what somebody must look at."""
    _write("error", event, fields)


def _write(level: str, event: str, fields: dict[str, object]) -> None:
    line = {"time": datetime.now(UTC).isoformat(), "level": level, "process": "control", "event": event} | fields
    with contextlib.suppress(OSError):
        os.write(_STDERR, json.dumps(line, default=str).encode() + b"\n")
