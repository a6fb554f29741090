"""Command lines run in this process, and transcripts of them.

A transcript is what a terminal would show: ``$ `` and a command line, then what it printed on stdout and
stderr together, then ``[CODE]`` unless it was 0. ``<id>``, ``<ago>``, ``<time>``, ``<date>`` and
``<pid>`` stand for what differs; ``# `` is a comment; ``! attach [SERVICE|-] [SECRET…]`` attaches a task.
"""

import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secretfs.cli.main import main

_WILD = {
    "<id>": r"[0-9a-z]{25}",
    "<ago>": r"(?:Less than a second|\d+ seconds?) ago",
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "<date>": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+",
    "<pid>": r"\d+",
    "<keyid>": r"[0-9a-f]{16}",
    "<unlockkey>": r"SWMKEY-1-[A-Za-z0-9+/]{43}",
}


@dataclass(frozen=True)
class Ended:
    """What a command line printed, and its exit code."""

    out: str
    err: str
    both: str
    code: int


class _Tee(io.TextIOWrapper):
    """A stream that writes into a second one too, so that the order of both can be seen."""

    def __init__(self, both: list[bytes]) -> None:
        super().__init__(_TeeBytes(both), encoding="utf-8", write_through=True)

    def text(self) -> str:
        self.seek(0)
        return self.read()


class _TeeBytes(io.BytesIO):
    def __init__(self, both: list[bytes]) -> None:
        super().__init__()
        self._both = both

    def write(self, data: bytes) -> int:
        self._both.append(bytes(data))
        return super().write(data)


def run(host: str, words: list[str], stdin: bytes = b"") -> Ended:
    """Run ``secretfs`` with these words, in this process."""
    both: list[bytes] = []
    out, err = _Tee(both), _Tee(both)
    saved = sys.stdout, sys.stderr, os.environ.get("SECRETFS_HOST")
    os.environ["SECRETFS_HOST"] = host
    sys.stdout, sys.stderr = out, err
    try:
        with _stdin(stdin):
            code = main(words)
    finally:
        sys.stdout, sys.stderr = saved[:2]
        os.environ.pop("SECRETFS_HOST")
        if saved[2] is not None:
            os.environ["SECRETFS_HOST"] = saved[2]
    return Ended(out.text(), err.text(), b"".join(both).decode(), code)


@contextmanager
def _stdin(data: bytes) -> Iterator[None]:
    """Descriptor 0 is a pipe that holds the data."""
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.write(writing, data)
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def play(transcript: Path, host: str, attach: Callable[..., str], files: Path) -> None:
    """Run the transcript's command lines; each must print what it says."""
    for command, expected in _steps(transcript.read_text()):
        words = shlex.split(command.replace("{files}", str(files)), posix=True)
        if words[0] == "attach":
            attach(None if words[1] == "-" else words[1], *words[2:])
            continue
        stdin = b""
        if words[0] == "printf":
            stdin = words[1].encode().decode("unicode_escape").encode("latin-1")
            words = words[words.index("|") + 1 :]
        assert words[0] == "secretfs", command
        ended = run(host, words[1:], stdin)
        shown = ended.both.replace(str(files), "{files}") + (f"[{ended.code}]\n" if ended.code else "")
        pattern = re.compile("".join(_pattern(part) for part in re.split(r"(<\w+>|\n)", expected)))
        assert pattern.fullmatch(_stripped(shown)), f"$ {command}\n{shown}--- not as said:\n{expected}"


def _stripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _pattern(part: str) -> str:
    """A column is padded to its widest cell, so the blanks after a wildcard are any."""
    return re.sub(r"(\\ ){2,}", " +", _WILD.get(part, re.escape(part)))


def _steps(text: str) -> Iterator[tuple[str, str]]:
    command, expected = "", ""
    for line in text.splitlines():
        if line.startswith(("$ ", "! ")):
            if command:
                yield command, expected
            command, expected = line[2:], ""
        elif command and not line.startswith("# ") and line != "#":
            expected += f"{line}\n"
    yield command, expected
