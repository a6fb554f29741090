"""``secretfs stack``. Rule: the files and verbs of docker stack, with no docker: what they say of secrets and configs
is done, and what they say of containers is for others.
"""

from argparse import Namespace, _SubParsersAction
from collections.abc import Callable
from importlib import import_module

from secretfs.cli.commands import add_listing_flags
from secretfs.cli.parser import CommandParser, add_commands, examples

_FILE_HELP = "a compose file, or - for standard input; of several, later ones win"
_ACCEPTED = "accepted, since docker has it; there is nothing that it could change"
_SERVICE_FILTERS = "name=PREFIX, id=PREFIX, mode=MODE, label=KEY or label=KEY=VALUE"
_TASK_FILTERS = "name=PREFIX, id=PREFIX, node=NODE or desired-state=STATE"


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``stack`` and its commands."""
    noun = commands.add_parser(
        "stack",
        help="deploy the secrets, configs and services of compose files",
        description="Deploy the secrets, configs and services of compose files. A stack is what was deployed together.",
        epilog=examples(
            "secretfs stack deploy -c compose.yml app", "secretfs run --service app_web -- ls /run/secrets"
        ),
    )
    verbs = add_commands(noun)
    _register_deploy(verbs)
    _register_config(verbs)
    _register_ls(verbs)
    _register_services(verbs)
    _register_ps(verbs)
    _register_rm(verbs)


def _register_deploy(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "deploy",
        aliases=["up"],
        help="make a stack what compose files say",
        description="Make a stack what compose files say: create its secrets, configs and services, or change them.\n"
        "A value that has changed is a new version, which running tasks open from then on. A deploy that\n"
        "fails is taken back. Names are docker's: secret s of stack app is app_s, unless it has a name.",
        epilog=examples(
            "secretfs stack deploy -c compose.yml app",
            "secretfs stack deploy -c compose.yml -c production.yml --prune app",
            "secretfs stack config -c compose.yml | secretfs stack deploy -c - app",
        ),
    )
    _add_files(parser)
    parser.add_argument("--prune", action="store_true", help="remove services that the files do not have any more")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print what is done")
    _add_detach(parser)
    parser.add_argument("--with-registry-auth", action="store_true", help=_ACCEPTED)
    parser.add_argument("--resolve-image", metavar="WHEN", help=_ACCEPTED)
    parser.add_argument("stack", metavar="STACK", help="its name")
    parser.set_defaults(handler=_handler("stack_deploy", "deploy"))


def _register_config(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "config",
        help="print compose files as one, with their variables replaced",
        description="Print compose files as one, with their variables replaced. No daemon is asked.",
        epilog=examples("secretfs stack config -c compose.yml -c production.yml"),
    )
    _add_files(parser)
    parser.add_argument("--skip-interpolation", action="store_true", help="leave the variables as they are")
    parser.set_defaults(handler=_handler("stack_config", "config"))


def _register_ls(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "ls",
        aliases=["list"],
        help="list stacks",
        description="List stacks, with how many services they have.\nPlaceholders: .Name .Services",
        epilog=examples("secretfs stack ls", "secretfs stack ls --format '{{.Name}}'"),
    )
    parser.add_argument(
        "--format", metavar="FORMAT", help="table, json, a Go template, or 'table TEMPLATE' for one with a header"
    )
    parser.set_defaults(handler=_handler("stack_lists", "ls"))


def _register_services(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "services",
        help="list the services of a stack",
        description="List the services of a stack.\n"
        "Placeholders: .ID .Name .Tasks .Secrets .Configs .Mode .Replicas .Image .Ports .CreatedAt .UpdatedAt\n"
        "  .Labels .Label",
        epilog=examples("secretfs stack services app", "secretfs stack services --quiet --filter name=app_web app"),
    )
    add_listing_flags(parser, filters=_SERVICE_FILTERS)
    parser.add_argument("stack", metavar="STACK")
    parser.set_defaults(handler=_handler("stack_lists", "services"))


def _register_ps(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "ps",
        help="list the running tasks of a stack",
        description="List the running tasks of a stack, with the version of each secret that they see.\n"
        "Placeholders: .ID .Service .PID .State .Since .TargetDir .Secrets .Configs",
        epilog=examples("secretfs stack ps app", "secretfs stack ps --format '{{.PID}} {{.Service}}' app"),
    )
    add_listing_flags(parser, filters=_TASK_FILTERS)
    parser.add_argument("stack", metavar="STACK")
    parser.set_defaults(handler=_handler("stack_lists", "ps"))


def _register_rm(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "rm",
        aliases=["remove", "down"],
        help="remove stacks; the secrets of their tasks are flushed",
        description="Remove the services, secrets and configs of stacks. The secrets of their running tasks are\n"
        "flushed; the programs go on. What is external stays.",
        epilog=examples("secretfs stack rm app"),
    )
    _add_detach(parser)
    parser.add_argument("stack", metavar="STACK", nargs="+")
    parser.set_defaults(handler=_handler("stack_rm", "remove"))


def _add_files(parser: CommandParser) -> None:
    parser.add_argument("-c", "--compose-file", action="append", default=[], metavar="FILE|-", help=_FILE_HELP)


def _add_detach(parser: CommandParser) -> None:
    parser.add_argument("-d", "--detach", action="store_true", help=_ACCEPTED)


def _handler(module: str, name: str) -> Callable[[Namespace], int]:
    """The function, imported when it is called: a listing does not wait for YAML."""

    def handler(arguments: Namespace) -> int:
        code: int = getattr(import_module(f"secretfs.cli.{module}"), name)(arguments)
        return code

    return handler
