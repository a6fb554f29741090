"""One JSON object per line on stderr: what the three processes report. Never a value, never a key.

A line is one write(2), so lines of several processes do not mix. A log that cannot be written (a full disk behind
stderr, a closed pipe) is not a reason to stop serving.
"""

import contextlib
import json
import os
import time

_STDERR = 2


def log(process: str, event: str, **fields: str | float | None) -> None:
    """Report ``event`` of ``process``; a field's value is what an administrator may see."""
    line = {"time": _now(), "process": process, "event": event, **fields}
    with contextlib.suppress(OSError):
        os.write(_STDERR, json.dumps(line, ensure_ascii=True).encode() + b"\n")


def _now() -> str:
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"
