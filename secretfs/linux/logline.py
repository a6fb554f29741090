"""One JSON object per line on stderr: what the three processes report. Rule: names, ids, numbers and the texts of
errors; never a value, never a key.

A line is ASCII without control characters, so nothing that a peer chose (a name, a path) reaches a terminal as more
than text. It is one write(2) of at most PIPE_BUF bytes, so lines of several processes do not mix (pipe(7)). A log that
cannot take it at once (a full disk behind stderr, a closed pipe, a pager that is not read on) loses the line: no task
may wait for a log.
"""

import contextlib
import json
import os
import select
import time
from typing import Final

_STDERR: Final = 2


class Log:
    """What one process says."""

    __slots__ = ("_process",)

    def __init__(self, process: str) -> None:
        self._process = process

    def info(self, event: str, **fields: object) -> None:
        """Say what happened."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Say what somebody should look at when it comes again."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Say what somebody must look at."""
        self._say("error", event, fields)

    def _say(self, level: str, event: str, fields: dict[str, object]) -> None:
        fixed: dict[str, object] = {"time": _now(), "level": level, "process": self._process, "event": event}
        line = _line(fixed | fields | fixed)
        ready = select.poll()
        ready.register(_STDERR, select.POLLOUT)  # of a pipe: there is room for PIPE_BUF bytes
        with contextlib.suppress(OSError):
            if ready.poll(0):
                os.write(_STDERR, line)


def _line(record: dict[str, object]) -> bytes:
    """The record on one line; texts that are too long for it are cut."""
    limit = select.PIPE_BUF
    while True:
        cut = {name: value[:limit] if isinstance(value, str) else value for name, value in record.items()}
        line = json.dumps(cut, ensure_ascii=True, default=str).replace("\x7f", "\\u007f").encode() + b"\n"
        if len(line) <= select.PIPE_BUF or not limit:
            return line
        limit //= 2


def _now() -> str:
    """RFC 3339 in UTC."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds // 1000:06d}Z"
