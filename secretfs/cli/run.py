"""``secretfs run``. Rule: 125 is ours, 126 and 127 are about the program as a shell says it, all else is the
program's own.
"""

from secretfs.cli.attaching import add_grant_flags, attach_socket, request_of

REFUSED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127

_USAGE = "secretfs run [OPTIONS] -- CMD [ARG...]"
_EXAMPLES = (
    "secretfs run --secret my_secret -- cat /run/secrets/my_secret",
    "secretfs run --service web --user nobody --file-vars -- env",
)


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``run``."""
    from argparse import REMAINDER, SUPPRESS

    from secretfs.cli.parser import examples

    parser = commands.add_parser(
        "run",
        help="run a program with its secrets in place",
        description="Become CMD, with the secrets and configs of a service and those given here as files only it sees.",
        epilog=examples(*_EXAMPLES),
        usage=_USAGE,
    )
    add_grant_flags(parser, "secret", "config")
    parser.add_argument(
        "--target-dir",
        default="/run/secrets",
        metavar="DIR",
        help="where secrets appear (default /run/secrets); configs do in 'configs' beside it",
    )
    parser.add_argument("--user", metavar="USER[:GROUP]", help="run the program as this user")
    parser.add_argument("--file-vars", action="store_true", help="set NAME_FILE to the path of each secret and config")
    parser.add_argument("--until", choices=["leader"], help="flush when CMD itself ends, not when its last child does")
    parser.add_argument("--allow-new-privileges", action="store_true", help="let CMD use setuid programs such as sudo")
    parser.add_argument("command", nargs=REMAINDER, metavar="CMD", help=SUPPRESS)
    parser.set_defaults(handler=run)


def run(arguments: "Namespace | Arguments") -> int:
    """Become the program; an exit code comes back only when it was not started."""
    from secretfs.errors import ProgramNotExecutableError, ProgramNotFoundError, SecretfsError, UsageError

    try:
        _become(arguments)
    except UsageError:
        raise
    except ProgramNotFoundError as exc:
        _say(exc)
        return NOT_FOUND
    except ProgramNotExecutableError as exc:
        _say(exc)
        return NOT_EXECUTABLE
    except SecretfsError as exc:
        _say(exc)
        return REFUSED


def _say(failure: "SecretfsError") -> None:
    from secretfs.cli import output

    output.prepare()
    output.failure(failure)


def _warn(text: str, hints: "Sequence[str]") -> None:
    from secretfs.cli import output

    output.prepare()
    output.warning(text, hints)


def _become(arguments: "Namespace | Arguments") -> "NoReturn":
    from secretfs.errors import UsageError
    from secretfs.runtimes.run import run as become

    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("a program is required: " + _USAGE)
    become(
        command,
        socket_path=attach_socket(arguments),
        request={**request_of(arguments), "UntilLeader": arguments.until == "leader"},
        target_dir=arguments.target_dir,
        user=arguments.user,
        file_vars=arguments.file_vars,
        allow_new_privileges=arguments.allow_new_privileges,
        warn=_warn,
    )


TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Sequence
    from typing import NoReturn

    from secretfs.cli.parser import CommandParser
    from secretfs.cli.plain import Arguments
    from secretfs.errors import SecretfsError
