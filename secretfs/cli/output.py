"""All printing. Rules: data alone on stdout; messages on stderr, ``secretfs: `` first, lower case, no full
stop; never a value. What somebody chose (a label, a name in an error) is text to a terminal, not an order:
tables and messages are always escaped, templates at a terminal, as a pipe of docker's has the bytes.

``error`` is followed by what was wrong, ``hint`` by what the user can do; a hint travels as a note of the
exception.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence

from secretfs.linux import terminal

_MINIMUM_WIDTH = 10  # docker cli command/formatter: tabwriter.NewWriter(out, 10, 1, 3, ' ', 0)
_PADDING = 3


def prepare() -> None:
    """Make both streams print any text: what the terminal's encoding lacks is shown as an escape.

    A stream that the caller closed swallows everything: a socket may have its number by then.
    """
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> "TextIO":
    return open(os.devnull, "w", encoding="utf-8")


def line(text: str = "") -> None:
    """One line of data, which stays one."""
    sys.stdout.write(terminal.one_line(text) + "\n")


def template(block: str) -> None:
    """What a template made, its line ends included: as it is, but escaped at a terminal."""
    sys.stdout.write(terminal.block(block) if sys.stdout.isatty() else block)


def data(content: bytes) -> None:
    """What somebody keeps in a config, and a line end: byte by byte, but escaped at a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(terminal.block(content.decode(errors="backslashreplace")) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content + b"\n")


def document(value: object) -> None:
    """A JSON document, indented as docker's inspect, keys in the order of the daemon."""
    sys.stdout.write(terminal.json_text(json.dumps(value, indent=4, ensure_ascii=False)) + "\n")


def compact(value: object) -> str:
    """JSON on one line, as Go writes it."""
    return terminal.json_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def table(rows: Iterable[Sequence[str]]) -> None:
    """Rows under each other, as ``laid_out`` does; the first row is the header."""
    sys.stdout.write(laid_out(rows))


def flush() -> None:
    """Let whoever reads have what was printed so far. Raises: BrokenPipeError, when nobody does any more."""
    sys.stdout.flush()


def laid_out(rows: Iterable[Sequence[str]]) -> str:
    """Rows as lines, their columns at least ten wide and three apart, as docker's; each cell is escaped."""
    kept = [list(map(terminal.one_line, row)) or [""] for row in rows]
    columns = max((len(row) for row in kept), default=0)
    widths = [
        max(_MINIMUM_WIDTH, *(len(row[at]) + _PADDING for row in kept if at < len(row) - 1), 0) for at in range(columns)
    ]
    lines = []
    for row in kept:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)


def error(message: str, hints: Sequence[str] = ()) -> None:
    """What was refused or failed, then what to do."""
    _message("error", message)
    for hint in hints:
        _message("hint", hint)


def failure(exc: BaseException) -> None:
    """An exception as error, its notes as hints."""
    error(str(exc), getattr(exc, "__notes__", ()))


def warning(message: str, hints: Sequence[str] = ()) -> None:
    """What was done, but should be looked at."""
    _message("warning", message)
    for hint in hints:
        _message("hint", hint)


def note(message: str) -> None:
    """What was left as it is, and why."""
    _message("note", message)


def progress(message: str) -> None:
    """What has happened, for a person who watches."""
    sys.stdout.flush()
    sys.stderr.write(f"secretfs: {terminal.one_line(message)}\n")
    sys.stderr.flush()


def _message(kind: str, message: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"secretfs: {kind}: {terminal.one_line(message)}\n")
    sys.stderr.flush()


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO
