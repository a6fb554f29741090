"""``secretfs stack``. Rule: the files and verbs of docker stack, with no docker: what they say of secrets and configs
is done, and what they say of containers is for others.
"""

from argparse import Namespace, _SubParsersAction

from secretfs.cli.parser import CommandParser, add_commands, examples

_FILE_HELP = "a compose file, or - for standard input; of several, later ones win"


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


def _register_deploy(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "deploy",
        aliases=["up"],
        help="make a stack what compose files say",
        description="Make a stack what compose files say: create its secrets, configs and services, or change them.\n"
        "A value that has changed is a new version, which running tasks open from then on. A deploy that fails\n"
        "leaves nothing behind. Names are docker's: secret s of stack app is app_s, unless it has a name.",
        epilog=examples(
            "secretfs stack deploy -c compose.yml app",
            "secretfs stack deploy -c compose.yml -c production.yml --prune app",
            "secretfs stack config -c compose.yml | secretfs stack deploy -c - app",
        ),
    )
    parser.add_argument("-c", "--compose-file", action="append", default=[], metavar="FILE|-", help=_FILE_HELP)
    parser.add_argument("--prune", action="store_true", help="remove services of the stack that the files do not have")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print what is done")
    parser.add_argument("stack", metavar="STACK", help="its name, before those of all that it has")
    parser.set_defaults(handler=deploy)


def deploy(arguments: Namespace) -> int:
    """Make the stack what the files say."""
    from secretfs.cli import stack_deploy

    return stack_deploy.deploy(arguments)
