"""``secretfs ps`` and ``secretfs detach``. Rule: ids are shown whole, so that what is printed can be
pasted into the next command.
"""

import time
from argparse import Namespace, _SubParsersAction

from secretfs.cli import answers, output, times
from secretfs.cli.client import Client, quoted
from secretfs.cli.commands import add_listing_flags, client_of, for_each
from secretfs.cli.listing import Columns, Row, show
from secretfs.cli.parser import CommandParser, examples

COLUMNS = Columns(
    "*task.taskContext",
    {
        "ID": "ID",
        "Service": "SERVICE",
        "PID": "PID",
        "State": "STATE",
        "Since": "SINCE",
        "TargetDir": "DIRECTORY",
        "Secrets": "SECRETS",
        "Configs": "CONFIGS",
    },
    ("ID", "Service", "PID", "State", "Since", "Secrets", "Configs"),
)


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``ps`` and ``detach``."""
    listing = commands.add_parser(
        "ps",
        help="list running tasks",
        description="List running tasks, those without a service too, with the version of each secret that they see.\n"
        "Placeholders: .ID .Service .PID .State .Since .TargetDir .Secrets .Configs",
        epilog=examples("secretfs ps", "secretfs ps --format '{{.PID}} {{.Secrets}}'"),
    )
    add_listing_flags(listing)
    listing.set_defaults(handler=ps)
    detaching = commands.add_parser(
        "detach",
        help="take all secrets away from running tasks",
        description="Take all secrets away from running tasks. The programs go on, their reads fail.",
        epilog=examples('for task in $(secretfs ps -q); do secretfs detach "$task"; done'),
    )
    detaching.add_argument("task", metavar="TASK", nargs="+", help="an id, or the start of one")
    detaching.set_defaults(handler=detach)


def ps(arguments: Namespace) -> int:
    """Print all running tasks."""
    print_tasks(client_of(arguments), arguments)
    return 0


def detach(arguments: Namespace) -> int:
    """Detach each task; print those that are flushed."""
    client = client_of(arguments)

    def act(reference: str) -> None:
        client.delete(f"/secretfs/v1/tasks/{quoted(reference)}")
        output.line(reference)

    return for_each(arguments.task, "task", act)


def print_tasks(
    client: Client, arguments: Namespace, *, services: set[str] | None = None, tasks: set[str] | None = None
) -> None:
    """Print the running tasks, the oldest first: all, or those of the services, or those tasks, with these ids."""
    shown = [
        task
        for task in answers.items(client.get("/secretfs/v1/tasks"))
        if (services is None or answers.text(task, "ServiceID") in services)
        and (tasks is None or answers.text(task, "ID") in tasks)
    ]
    shown.sort(key=lambda task: (times.nanoseconds(answers.text(task, "Since")) or 0, answers.text(task, "ID")))
    rows = [_row(task, time.time_ns()) for task in shown]
    show(rows, COLUMNS, form=arguments.format, quiet=arguments.quiet)
    lacking = sum(answers.number(task, "Lacking") for task in shown)
    if lacking:
        output.warning(f"{lacking} files are not shown, because the store is locked", ["secretfs swarm unlock"])


def _row(task: object, now_ns: int) -> Row:
    return COLUMNS.row(
        {
            "ID": answers.text(task, "ID"),
            "Service": answers.text(task, "Service"),
            "PID": str(answers.number(task, "PID")),
            "State": answers.text(task, "State"),
            "Since": times.ago(answers.text(task, "Since"), now_ns),
            "TargetDir": answers.text(task, "TargetDir"),
            "Secrets": _grants(task, "secret"),
            "Configs": _grants(task, "config"),
        }
    )


def _grants(task: object, kind: str) -> str:
    grants = answers.items(task, "Grants")
    return ", ".join(_grant(grant) for grant in grants if answers.text(grant, "Kind") == kind)


def _grant(grant: object) -> str:
    """``name:version``, and where it shows if not under its name."""
    name, target = answers.text(grant, "Name"), answers.text(grant, "Target")
    shown = f"{name}:{answers.number(grant, 'Version')}"
    return shown if target == name else f"{shown}->{target}"
