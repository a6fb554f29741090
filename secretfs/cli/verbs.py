"""The verbs that every noun has: ls, inspect, rm. Rule: a noun says what is its own; flags, operands and what
they do are the same for all, as with docker.
"""

from argparse import Namespace, _SubParsersAction
from collections.abc import Callable

from secretfs.cli import output
from secretfs.cli.client import quoted
from secretfs.cli.commands import add_inspect_flags, add_listing_flags, client_of, for_each
from secretfs.cli.parser import CommandParser, examples

_FILTERS = "name=PREFIX, id=PREFIX, label=KEY or label=KEY=VALUE"

Handler = Callable[[Namespace], int]


def add_ls(
    verbs: "_SubParsersAction[CommandParser]", noun: str, handler: Handler, *, description: str, lines: tuple[str, ...]
) -> None:
    """``ls`` and ``list``; the lines are examples."""
    parser = verbs.add_parser(
        "ls", aliases=["list"], help=f"list {noun}s", description=description, epilog=examples(*lines)
    )
    add_listing_flags(parser, filters=_FILTERS)
    parser.set_defaults(handler=handler)


def add_inspect(
    verbs: "_SubParsersAction[CommandParser]",
    noun: str,
    pretty: Callable[[object], None],
    *,
    what: str,
    lines: tuple[str, ...],
) -> None:
    """``inspect``; ``pretty`` prints one object for people."""

    def inspect(arguments: Namespace) -> int:
        from secretfs.cli.inspection import inspect as inspected

        client = client_of(arguments)
        return inspected(client, arguments, noun=noun, references=arguments.references, pretty=pretty)

    parser = verbs.add_parser(
        "inspect",
        help=f"show all about {what}",
        description=f"Show all about {what}.\nA {noun} is named by its id, its name or the start of its id.",
        epilog=examples(*lines),
    )
    add_inspect_flags(parser)
    _add_references(parser, noun)
    parser.set_defaults(handler=inspect)


def add_rm(verbs: "_SubParsersAction[CommandParser]", noun: str, *, summary: str, description: str, line: str) -> None:
    """``rm`` and ``remove``: prints those that are gone."""

    def remove(arguments: Namespace) -> int:
        client = client_of(arguments)

        def act(reference: str) -> None:
            client.delete(f"/{noun}s/{quoted(reference)}")
            output.line(reference)

        return for_each(arguments.references, noun, act)

    parser = verbs.add_parser(
        "rm",
        aliases=["remove"],
        help=summary,
        description=description,
        epilog=examples(line),
    )
    _add_references(parser, noun)
    parser.set_defaults(handler=remove)


def _add_references(parser: CommandParser, noun: str) -> None:
    parser.add_argument("references", metavar=noun.upper(), nargs="+", help="a name, an id or the start of one")
