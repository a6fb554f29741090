"""What the commands share: flags of one name and meaning, and going on after a refusal.

Rule: a command over several objects does what it can, says what it could not, and exits 1 if there was any.
"""

from argparse import Namespace
from collections.abc import Callable, Iterable

from secretfs.cli import answers, output
from secretfs.cli.client import Client
from secretfs.cli.host import host_of
from secretfs.cli.parser import CommandParser
from secretfs.errors import InvalidArgumentError, SecretfsError, UnavailableError

REFUSED = 1


def client_of(arguments: Namespace) -> Client:
    """The client of the daemon that the arguments name."""
    return Client(host_of(arguments))


def add_listing_flags(parser: CommandParser, *, filters: str = "") -> None:
    """``--quiet``, ``--format`` and, where filters are named, ``--filter``."""
    if filters:
        parser.add_argument(
            "-f", "--filter", action="append", default=[], metavar="FILTER", help=f"only those with {filters}"
        )
    parser.add_argument(
        "--format", metavar="FORMAT", help="table, json, a Go template, or 'table TEMPLATE' for one with a header"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")


def add_inspect_flags(parser: CommandParser) -> None:
    """``--format`` and ``--pretty``."""
    parser.add_argument("-f", "--format", metavar="FORMAT", help="json (on one line) or a Go template")
    parser.add_argument("--pretty", action="store_true", help="for people")


def for_each(references: Iterable[str], noun: str, act: Callable[[str], None]) -> int:
    """Act on each reference and yield the exit code; a refusal is printed and the next one follows.

    Raises: UnavailableError, for a daemon that does not answer: the others would get no answer either.
    """
    code = 0
    for reference in references:
        try:
            if not reference:
                raise InvalidArgumentError(f"invalid {noun} name or ID: value is empty")
            act(reference)
        except UnavailableError:
            raise
        except SecretfsError as exc:
            output.failure(exc)
            code = REFUSED
    return code


def warn_of_newline(noun: str, name: str, remedy: str = "") -> None:
    """Say that the value that was taken ends a line, and how to give it one without. A config is a file: it may."""
    if noun == "config":
        return
    without = remedy or f"printf %s VALUE | secretfs {noun} update {name} -"
    output.warning(f"the value of {name} ends with a newline, which is part of it", [f"without: {without}"])


def print_labels(item: object) -> None:
    """A line for each label, as docker's inspect --pretty has them."""
    for key, value in sorted(answers.labels(item, "Spec", "Labels").items()):
        output.line(f" - {key}={value}" if value else f" - {key}")
