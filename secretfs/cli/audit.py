"""``secretfs audit``. Rule: every record, the oldest first; JSON is the record as it is kept, the table
is a part of it.
"""

from argparse import Namespace, _SubParsersAction

from secretfs.cli import answers, output
from secretfs.cli.commands import client_of
from secretfs.cli.parser import CommandParser, examples

_HEADER = ("TIME", "ACTION", "NAME", "ID", "UID", "PID", "DETAIL")


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``audit``."""
    parser = commands.add_parser(
        "audit",
        help="show who did what",
        description="Show every change, attach and detach, the oldest first: when, what, by which user and process.",
        epilog=examples("secretfs audit", "secretfs audit --format '{{.Time}} {{.Action}} {{.Name}} {{.UID}}'"),
    )
    parser.add_argument("--format", metavar="FORMAT", help="table, json (an object a line) or a Go template")
    parser.set_defaults(handler=audit)


def audit(arguments: Namespace) -> int:
    """Print the records."""
    form = arguments.format
    if form not in (None, "", "table", "json"):
        return _by_template(arguments, form)
    records = _records(arguments)
    if form == "json":
        for record in records:
            output.line(output.compact(record))
    else:
        output.table([_HEADER, *(_cells(record) for record in records)])
    return 0


def _by_template(arguments: Namespace, form: str) -> int:
    from secretfs.cli.template import parsed, rendered

    template = parsed(form)
    for record in _records(arguments):
        output.template(rendered(template, record) + "\n")
    return 0


def _records(arguments: Namespace) -> list[object]:
    return answers.items(client_of(arguments).get("/secretfs/v1/audit"))


def _cells(record: object) -> tuple[str, ...]:
    detail = answers.at(record, "Detail")
    pairs = detail.items() if isinstance(detail, dict) else ()
    return (
        answers.text(record, "Time"),
        answers.text(record, "Action"),
        answers.text(record, "Name"),
        answers.text(record, "ID"),
        str(answers.number(record, "UID")),
        str(answers.number(record, "PID")),
        " ".join(f"{key}={_detail(value)}" for key, value in pairs),
    )


def _detail(value: object) -> str:
    match value:
        case str():
            return value
        case list():
            return ",".join(_detail(item) for item in value)
    return output.compact(value)
