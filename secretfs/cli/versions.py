"""``update``, ``versions``, ``rollback``, ``prune``: the verbs of whatever has versions, secrets and configs alike.

Rule: a new value is a new version, and its number is what is printed; what running tasks do not show yet is a warning.
"""

import time
from argparse import Namespace, _SubParsersAction
from functools import partial

from secretfs.cli import answers, output, times
from secretfs.cli.client import encoded, quoted
from secretfs.cli.commands import add_listing_flags, client_of, warn_of_newline
from secretfs.cli.listing import Columns, Row, show
from secretfs.cli.parser import CommandParser, examples
from secretfs.errors import InvalidArgumentError, UsageError

_KIB = 1024
_READ_BYTES = {"secret": 2 * 500 * _KIB, "config": 2 * 1000 * _KIB}  # twice the limit: the daemon refuses the rest
_DRAIN_HELP = "how long descriptors that are open now keep the old bytes: 30s, 5m, 0 (default 30s)"

COLUMNS = Columns(
    "*version.versionContext",
    {
        "Version": "VERSION",
        "CreatedAt": "CREATED",
        "Size": "SIZE",
        "Tasks": "TASKS",
        "Services": "SERVICES",
        "PinnedBy": "PINNED BY",
        "Safe": "SAFE TO DESTROY",
    },
    ("Version", "CreatedAt", "Size", "Services", "PinnedBy", "Tasks", "Safe"),
    key="Version",
)


def register(verbs: "_SubParsersAction[CommandParser]", noun: str) -> None:
    """Add the four verbs to the noun, secret or config."""
    _register_update(verbs, noun)
    _register_versions(verbs, noun)
    _register_rollback(verbs, noun)
    _register_prune(verbs, noun)


def _register_update(verbs: "_SubParsersAction[CommandParser]", noun: str) -> None:
    parser = verbs.add_parser(
        "update",
        help=f"give a {noun} a new value, also in running tasks",
        description=f"Give a {noun} a new value; print the number of its version. When this returns, running tasks\n"
        "open the new one, at the same path. What they have open already reads the old bytes until it is\n"
        "closed, or until the drain is over. A value that is the newest already makes no version.",
        epilog=examples(
            f"printf 'another value' | secretfs {noun} update my_{noun} -",
            f"secretfs {noun} update --drain 5m my_{noun} /etc/hostname",
        ),
    )
    _add_drain(parser)
    parser.add_argument(
        "-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="a label to add or change"
    )
    _add_name(parser, noun)
    parser.add_argument("file", metavar="FILE|-", nargs="?", help="where the value is; - is standard input")
    parser.set_defaults(handler=partial(update, noun))


def _register_versions(verbs: "_SubParsersAction[CommandParser]", noun: str) -> None:
    parser = verbs.add_parser(
        "versions",
        help=f"list the versions of a {noun}, and who holds them",
        description=f"List the versions of a {noun}, newest first: which services follow or pin them, which running\n"
        "tasks hold them, and whether they are safe to destroy. A task that is (open) shows another version,\n"
        "but may have opened this one before, and its drain is not over.\n"
        "Placeholders: .Version .CreatedAt .Size .Services .PinnedBy .Tasks .Safe",
        epilog=examples(
            f"secretfs {noun} versions my_{noun}",
            f"secretfs {noun} versions --format '{{{{.Version}}}} {{{{.Safe}}}}' my_{noun}",
        ),
    )
    add_listing_flags(parser)
    _add_name(parser, noun)
    parser.set_defaults(handler=partial(versions, noun))


def _register_rollback(verbs: "_SubParsersAction[CommandParser]", noun: str) -> None:
    parser = verbs.add_parser(
        "rollback",
        help=f"give a {noun} the value of an older version",
        description=f"Give a {noun} the value of an older version, as a new version; print its number.",
        epilog=examples(f"secretfs {noun} rollback my_{noun} 1"),
    )
    _add_drain(parser)
    _add_name(parser, noun)
    parser.add_argument("version", metavar="VERSION", help=f"a number that 'secretfs {noun} versions' shows")
    parser.set_defaults(handler=partial(rollback, noun))


def _register_prune(verbs: "_SubParsersAction[CommandParser]", noun: str) -> None:
    parser = verbs.add_parser(
        "prune",
        help=f"destroy old versions of a {noun} that nobody holds",
        description=f"Destroy old versions of a {noun}; print their numbers. Kept are the newest N, and each that a\n"
        "service or its previous spec pins, or that a running task holds: which and why is said.",
        epilog=examples(f"secretfs {noun} prune my_{noun} --keep 3"),
    )
    parser.add_argument("--keep", metavar="N", required=True, help="how many of the newest to keep, 1 or more")
    _add_name(parser, noun)
    parser.set_defaults(handler=partial(prune, noun))


def update(noun: str, arguments: Namespace) -> int:
    """Read the value, send it, wipe it; print the version."""
    from secretfs.cli.labels import parse_labels
    from secretfs.cli.value import read_value, value_body

    if not arguments.file:
        raise UsageError(f"{noun} file is required")
    name = arguments.name
    fields = {"Labels": parse_labels(arguments.label, flag="-l, --label"), **_drain(arguments)}
    client = client_of(arguments)
    with (
        read_value(arguments.file, max_bytes=_READ_BYTES[noun]) as value,
        value_body(fields, value) as body,
    ):
        answer = client.post(_path(noun, name, "versions"), body)
        stray = value.stray_newline
    _print_revised(noun, name, answer)
    if stray:
        warn_of_newline(noun, name)
    return 0


def versions(noun: str, arguments: Namespace) -> int:
    """Print the versions, the newest first."""
    found = answers.items(client_of(arguments).get(_path(noun, arguments.name, "versions")))
    rows = [_row(version, time.time_ns()) for version in reversed(found)]
    show(rows, COLUMNS, form=arguments.format, quiet=arguments.quiet)
    return 0


def rollback(noun: str, arguments: Namespace) -> int:
    """Print the new version."""
    body = {"Version": _number(arguments.version, "VERSION"), **_drain(arguments)}
    answer = client_of(arguments).post(_path(noun, arguments.name, "rollback"), encoded(body))
    _print_revised(noun, arguments.name, answer)
    return 0


def prune(noun: str, arguments: Namespace) -> int:
    """Print the versions that are gone; say why the others are not."""
    body = {"Keep": _number(arguments.keep, "--keep")}
    answer = client_of(arguments).post(_path(noun, arguments.name, "prune"), encoded(body))
    for number in answers.items(answer, "Removed"):
        output.line(str(number))
    for kept in answers.items(answer, "Kept"):
        reasons = ", ".join(str(reason) for reason in answers.items(kept, "Reasons"))
        output.note(f"version {answers.number(kept, 'Version')} of {arguments.name} is kept: {reasons}")
    return 0


def _add_drain(parser: CommandParser) -> None:
    parser.add_argument("--drain", metavar="DURATION", help=_DRAIN_HELP)


def _add_name(parser: CommandParser, noun: str) -> None:
    parser.add_argument("name", metavar=noun.upper(), help="a name, an id or the start of one")


def _path(noun: str, name: str, act: str) -> str:
    if not name:
        raise InvalidArgumentError(f"invalid {noun} name or ID: value is empty")
    return f"/secretfs/v1/{noun}s/{quoted(name)}/{act}"


def _drain(arguments: Namespace) -> dict[str, float]:
    """The field of a request; none when nothing was said: the daemon knows what is usual."""
    if arguments.drain is None:
        return {}
    from secretfs.cli.durations import seconds

    return {"Drain": seconds(arguments.drain, flag="--drain")}


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise UsageError(f'invalid argument "{text}" for {what}: it must be a number, 1 or more')
    return int(text)


def _print_revised(noun: str, name: str, answer: object) -> None:
    number = answers.number(answer, "Version")
    output.line(str(number))
    if answers.at(answer, "Unchanged"):
        output.note(f"{noun} {name} has this value already: it is version {number}, no new one was made")
    for text in answers.items(answer, "Warnings"):
        output.warning(str(text), ["the new version is kept, and shown as soon as that can be done"])


def _row(version: object, now_ns: int) -> Row:
    draining = [answers.text(held, "Task") for held in answers.items(version, "Draining")]
    tasks = [*map(str, answers.items(version, "Tasks")), *(f"{task} (open)" for task in draining)]
    return COLUMNS.row(
        {
            "Version": str(answers.number(version, "Version")),
            "CreatedAt": times.ago(answers.text(version, "CreatedAt"), now_ns),
            "Size": str(answers.number(version, "Size")),
            "Services": ", ".join(map(str, answers.items(version, "Services"))),
            "PinnedBy": ", ".join(map(str, answers.items(version, "PinnedBy"))),
            "Tasks": ", ".join(tasks),
            "Safe": _safe(version),
        }
    )


def _safe(version: object) -> str:
    if answers.at(version, "Newest"):
        return "no, it is the newest"
    return "yes" if answers.at(version, "Safe") else "no"
