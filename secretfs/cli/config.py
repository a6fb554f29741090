"""``secretfs config``. Rule: docker config, to the letter. A config is kept and served as a secret is, but whoever may
use the API reads it.
"""

from argparse import _SubParsersAction

from secretfs.cli import answers, output, times, versions
from secretfs.cli.commands import print_labels
from secretfs.cli.objects import add_create, list_configs
from secretfs.cli.parser import CommandParser, add_commands, examples
from secretfs.cli.verbs import add_inspect, add_ls, add_rm

MAX_BYTES = 1000 * 1024 - 1  # core/secret.py, whose import a listing would wait for


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``config`` and its commands."""
    noun = commands.add_parser(
        "config",
        help="create, show and remove configs",
        description="Create, show and remove configs: files as secrets are, at /run/configs, that may be shown.",
        epilog=examples("secretfs config create my_config /etc/hostname", "secretfs config ls"),
    )
    verbs = add_commands(noun)
    add_create(
        verbs,
        "config",
        max_bytes=MAX_BYTES,
        lines=(
            "secretfs config create my_config /etc/hostname",
            "printf 'listen 80;\\n' | secretfs config create --label env=prod site -",
        ),
    )
    add_ls(
        verbs,
        "config",
        list_configs,
        description="List configs.\nPlaceholders: .ID .Name .CreatedAt .UpdatedAt .Labels .Label",
        lines=(
            "secretfs config ls",
            "secretfs config ls --filter label=env=prod --format '{{.ID}} {{.Name}}'",
        ),
    )
    add_inspect(
        verbs,
        "config",
        _print_pretty,
        what="configs: --pretty prints what they hold",
        lines=(
            "secretfs config inspect --pretty my_config",
            "secretfs config inspect --format '{{.Spec.Data}}' my_config | base64 -d",
        ),
    )
    add_rm(
        verbs,
        "config",
        summary="remove configs that nothing uses",
        description="Remove configs. One that a service or a running task is granted stays, and both are named.",
        line="secretfs config rm my_config",
    )
    versions.register(verbs, "config")


def _print_pretty(config: object) -> None:
    """What docker's has, in its places; it writes tabs where there are blanks here."""
    output.line(f"{'ID:':<24}{answers.text(config, 'ID')}")
    output.line(f"{'Name:':<24}{answers.text(config, 'Spec', 'Name')}")
    if answers.labels(config, "Spec", "Labels"):
        output.line("Labels:")
        print_labels(config)
    output.line(f"{'Created at:':<24}{times.spelled(answers.text(config, 'CreatedAt'))}")
    output.line(f"{'Updated at:':<24}{times.spelled(answers.text(config, 'UpdatedAt'))}")
    output.line("Data:")
    output.data(_data(config))


def _data(config: object) -> bytes:
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(answers.text(config, "Spec", "Data"))
    except (Error, ValueError):
        return b""
