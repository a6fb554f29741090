"""``secretfs secret``. Rule: docker secret, to the letter; a value is read from a file or stdin, never
from the command line.
"""

import time
from argparse import Namespace, _SubParsersAction

from secretfs.cli import answers, filters, output, times, versions
from secretfs.cli.commands import client_of
from secretfs.cli.listing import Columns, Row, by_name, show
from secretfs.cli.parser import CommandParser, add_commands, examples
from secretfs.cli.verbs import add_inspect, add_ls, add_rm
from secretfs.errors import UsageError

MAX_READ_BYTES = 2 * 500 * 1024  # docker/cli command/secret/create.go: twice the limit, the daemon refuses the rest

COLUMNS = Columns(
    "*secret.secretContext",
    {
        "ID": "ID",
        "Name": "NAME",
        "Driver": "DRIVER",
        "CreatedAt": "CREATED",
        "UpdatedAt": "UPDATED",
        "Labels": "LABELS",
    },
    ("ID", "Name", "Driver", "CreatedAt", "UpdatedAt"),
)


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``secret`` and its commands."""
    noun = commands.add_parser(
        "secret",
        help="create, show and remove secrets",
        description="Create, show and remove secrets.",
        epilog=examples("printf 'This is a secret' | secretfs secret create my_secret -", "secretfs secret ls"),
    )
    verbs = add_commands(noun)
    _register_create(verbs)
    add_ls(
        verbs,
        "secret",
        ls,
        description="List secrets. Values are never shown.\n"
        "Placeholders: .ID .Name .Driver .CreatedAt .UpdatedAt .Labels .Label",
        lines=(
            "secretfs secret ls",
            "secretfs secret ls --filter label=env=prod --format '{{.ID}} {{.Name}}'",
        ),
    )
    add_inspect(
        verbs,
        "secret",
        _print_pretty,
        what="secrets, but not their values",
        lines=(
            "secretfs secret inspect my_secret",
            "secretfs secret inspect --format '{{json .Spec.Labels}}' my_secret",
        ),
    )
    add_rm(
        verbs,
        "secret",
        summary="remove secrets that nothing uses",
        description="Remove secrets. One that a service or a running task is granted stays, and both are named.",
        line="secretfs secret rm my_secret",
    )
    versions.register(verbs, "secret")


def _register_create(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "create",
        help="create a secret from a file or stdin",
        description="Create a secret from a file or, with -, from standard input; print its id.\n"
        "The bytes are taken as they are: 1 to 511,999 of them, nothing is trimmed.",
        epilog=examples(
            "printf 'This is a secret' | secretfs secret create my_secret -",
            "secretfs secret create --label env=prod host_name /etc/hostname",
        ),
    )
    parser.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="a label")
    parser.add_argument("name", metavar="SECRET", help="1 to 64 of a-z A-Z 0-9 - _ .")
    parser.add_argument("file", metavar="FILE|-", nargs="?", help="where the value is; - is standard input")
    parser.set_defaults(handler=create)


def create(arguments: Namespace) -> int:
    """Read the value, send it, wipe it; print the id."""
    from secretfs.cli.labels import parse_labels
    from secretfs.cli.value import read_value, value_body

    if not arguments.file:
        raise UsageError("secret file is required")
    labels = parse_labels(arguments.label, flag="-l, --label")
    client = client_of(arguments)
    with (
        read_value(arguments.file, max_bytes=MAX_READ_BYTES) as value,
        value_body({"Name": arguments.name, "Labels": labels}, value) as body,
    ):
        answer = client.post("/secrets/create", body)
        stray = value.stray_newline
    output.line(answers.text(answer, "ID"))
    if stray:
        output.warning(
            f"the value of {arguments.name} ends with a newline, which is part of it",
            [f"without: printf %s VALUE | secretfs secret create {arguments.name} -"],
        )
    return 0


def ls(arguments: Namespace) -> int:
    """Print the secrets, sorted by name."""
    found = client_of(arguments).get("/secrets", filters.query(arguments.filter))
    rows = [_row(secret, time.time_ns()) for secret in answers.items(found)]
    rows.sort(key=lambda row: by_name(row.fields["Name"]))
    show(rows, COLUMNS, form=arguments.format, quiet=arguments.quiet)
    return 0


def _row(secret: object, now_ns: int) -> Row:
    fields = {
        "ID": answers.text(secret, "ID"),
        "Name": answers.text(secret, "Spec", "Name"),
        "Driver": answers.text(secret, "Spec", "Driver", "Name"),
        "CreatedAt": times.ago(answers.text(secret, "CreatedAt"), now_ns),
        "UpdatedAt": times.ago(answers.text(secret, "UpdatedAt"), now_ns),
    }
    return COLUMNS.row(fields, answers.labels(secret, "Spec", "Labels"))


def _print_pretty(secret: object) -> None:
    output.line(f"ID:              {answers.text(secret, 'ID')}")
    output.line(f"Name:              {answers.text(secret, 'Spec', 'Name')}")
    output.line("Labels:")
    for key, value in sorted(answers.labels(secret, "Spec", "Labels").items()):
        output.line(f" - {key}={value}" if value else f" - {key}")
    output.line(f"Driver:            {answers.text(secret, 'Spec', 'Driver', 'Name')}")
    output.line(f"Created at:        {times.spelled(answers.text(secret, 'CreatedAt'))}")
    output.line(f"Updated at:        {times.spelled(answers.text(secret, 'UpdatedAt'))}")
