"""``secretfs secret`` and ``secretfs config``. Rule: docker's, to the letter; a value is read from a file or stdin,
never from the command line.
"""

import time
from argparse import Namespace, _SubParsersAction

from secretfs.cli import answers, filters, output, times
from secretfs.cli.commands import client_of, warn_of_newline
from secretfs.cli.listing import Columns, Row, by_name, show
from secretfs.cli.parser import CommandParser, examples
from secretfs.errors import UsageError

COLUMNS = {
    noun: Columns(
        f"*{noun}.{noun}Context",
        {
            "ID": "ID",
            "Name": "NAME",
            **({"Driver": "DRIVER"} if noun == "secret" else {}),
            "CreatedAt": "CREATED",
            "UpdatedAt": "UPDATED",
            "Labels": "LABELS",
        },
        shown,
    )
    for noun, shown in (
        ("secret", ("ID", "Name", "Driver", "CreatedAt", "UpdatedAt")),
        ("config", ("ID", "Name", "CreatedAt", "UpdatedAt")),
    )
}
# The query of a listing that shows no data.
WITHOUT_DATA: dict[str, dict[str, str]] = {
    "secret": {},
    "config": {"data": "false"},
}


def add_create(verbs: "_SubParsersAction[CommandParser]", noun: str, *, max_bytes: int, lines: tuple[str, ...]) -> None:
    """``create``, for a value of at most max_bytes; the lines are examples."""

    def create(arguments: Namespace) -> int:
        return _create(arguments, noun, max_bytes)

    parser = verbs.add_parser(
        "create",
        help=f"create a {noun} from a file or stdin",
        description=f"Create a {noun} from a file or, with -, from standard input; print its id.\n"
        f"The bytes are taken as they are: 1 to {max_bytes:,} of them, nothing is trimmed.",
        epilog=examples(*lines),
    )
    parser.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="a label")
    parser.add_argument("name", metavar="NAME", help="1 to 64 of a-z A-Z 0-9 - _ .")
    parser.add_argument("file", metavar="FILE|-", nargs="?", help="where the value is; - is standard input")
    parser.set_defaults(handler=create)


def _create(arguments: Namespace, noun: str, max_bytes: int) -> int:
    """Read the value, send it, wipe it; print the id."""
    from secretfs.cli.labels import parse_labels
    from secretfs.cli.value import read_value, value_body

    if not arguments.file:
        raise UsageError(f"{noun} file is required")
    labels = parse_labels(arguments.label, flag="-l, --label")
    client = client_of(arguments)
    with (
        read_value(arguments.file, max_bytes=max_bytes + 1) as value,  # the daemon refuses what is too long
        value_body({"Name": arguments.name, "Labels": labels}, value) as body,
    ):
        answer = client.post(f"/{noun}s/create", body)
        stray = value.stray_newline
    output.line(answers.text(answer, "ID"))
    if stray:
        warn_of_newline(noun, arguments.name)
    return 0


def list_secrets(arguments: Namespace) -> int:
    """Print the secrets, sorted by name."""
    return _list(arguments, "secret")


def list_configs(arguments: Namespace) -> int:
    """Print the configs, sorted by name."""
    return _list(arguments, "config")


def _list(arguments: Namespace, noun: str) -> int:
    found = client_of(arguments).get(f"/{noun}s", {**WITHOUT_DATA[noun], **filters.query(arguments.filter)})
    rows = [_row(item, COLUMNS[noun], time.time_ns()) for item in answers.items(found)]
    rows.sort(key=lambda row: by_name(row.fields["Name"]))
    show(rows, COLUMNS[noun], form=arguments.format, quiet=arguments.quiet)
    return 0


def _row(item: object, columns: Columns, now_ns: int) -> Row:
    fields = {
        "ID": answers.text(item, "ID"),
        "Name": answers.text(item, "Spec", "Name"),
        "Driver": answers.text(item, "Spec", "Driver", "Name"),
        "CreatedAt": times.ago(answers.text(item, "CreatedAt"), now_ns),
        "UpdatedAt": times.ago(answers.text(item, "UpdatedAt"), now_ns),
    }
    known = {name: text for name, text in fields.items() if name in columns.headers}
    return columns.row(known, answers.labels(item, "Spec", "Labels"))
