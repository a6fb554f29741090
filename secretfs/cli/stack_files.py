"""The compose files of a command line, as one. Rule: docker stack's: variables come from the environment alone, never
from a ``.env``; relative paths begin where the first file is, or here for standard input.
"""

import os
from collections.abc import Iterable

from secretfs.cli import output
from secretfs.core.compose.interpolate import Interpolation
from secretfs.core.compose.load import MAX_BYTES, parsed
from secretfs.core.compose.merge import merged
from secretfs.core.compose.model import ComposeFile
from secretfs.core.compose.read import read
from secretfs.core.csv import parse_record
from secretfs.errors import ComposeError, InvalidGrantError, UsageError

STDIN = "-"
_STDIN_NAME = "stdin"


def compose_file(flags: Iterable[str], *, interpolate: bool = True) -> ComposeFile:
    """What the files of ``--compose-file`` say together. Raises: UsageError, ComposeError."""
    paths = _paths(flags)
    directory = os.getcwd() if paths[0] == STDIN else os.path.dirname(os.path.abspath(paths[0]))
    interpolation = Interpolation(os.environ)
    files = []
    try:
        for path in paths:
            tree = parsed(_source(path), _STDIN_NAME if path == STDIN else path)
            files.append(read(interpolation.tree(tree) if interpolate else tree, directory))
    finally:  # it is often why a file is refused
        for name in interpolation.unset:
            output.warning(f"variable {name} is not set: it is taken as empty", [f"to say so: ${{{name}-}}"])
    return merged(files)


def _paths(flags: Iterable[str]) -> list[str]:
    """A flag may have several, comma-separated, as docker's."""
    paths: list[str] = []
    for flag in flags:
        try:
            paths += parse_record(flag)
        except InvalidGrantError as exc:
            raise UsageError(f'invalid argument "{flag}" for "-c, --compose-file" flag: {exc}') from None
    if not paths or "" in paths:
        raise UsageError("Specify a Compose file (with --compose-file)")
    if paths.count(STDIN) > 1:
        raise UsageError("standard input can be read once only")
    return paths


def _source(path: str) -> str:
    name = _STDIN_NAME if path == STDIN else path
    try:
        with open(0 if path == STDIN else path, "rb", closefd=path != STDIN) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ComposeError(f"open {name}: {os.strerror(exc.errno or 0).lower()}") from None
    if len(content) > MAX_BYTES:
        raise ComposeError(f"{name}: it is longer than {MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ComposeError(f"{name}: it is not UTF-8") from None
