"""``secretfs secret``. Rule: docker secret, to the letter; a value goes in and never comes out."""

from argparse import _SubParsersAction

from secretfs.cli import answers, output, times, versions
from secretfs.cli.commands import print_labels
from secretfs.cli.objects import add_create, list_secrets
from secretfs.cli.parser import CommandParser, add_commands, examples
from secretfs.cli.verbs import add_inspect, add_ls, add_rm

MAX_BYTES = 500 * 1024 - 1  # core/secret.py, whose import a listing would wait for


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``secret`` and its commands."""
    noun = commands.add_parser(
        "secret",
        help="create, show and remove secrets",
        description="Create, show and remove secrets.",
        epilog=examples("printf 'This is a secret' | secretfs secret create my_secret -", "secretfs secret ls"),
    )
    verbs = add_commands(noun)
    add_create(
        verbs,
        "secret",
        max_bytes=MAX_BYTES,
        lines=(
            "printf 'This is a secret' | secretfs secret create my_secret -",
            "secretfs secret create --label env=prod host_name /etc/hostname",
        ),
    )
    add_ls(
        verbs,
        "secret",
        list_secrets,
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


def _print_pretty(secret: object) -> None:
    output.line(f"ID:              {answers.text(secret, 'ID')}")
    output.line(f"Name:              {answers.text(secret, 'Spec', 'Name')}")
    output.line("Labels:")
    print_labels(secret)
    output.line(f"Driver:            {answers.text(secret, 'Spec', 'Driver', 'Name')}")
    output.line(f"Created at:        {times.spelled(answers.text(secret, 'CreatedAt'))}")
    output.line(f"Updated at:        {times.spelled(answers.text(secret, 'UpdatedAt'))}")
