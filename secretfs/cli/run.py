"""``secretfs run``. Rule: 125 is ours, 126 and 127 are about the program as a shell says it, all else is the
program's own.
"""

import os
from argparse import REMAINDER, SUPPRESS, Namespace, _SubParsersAction

from secretfs.cli.parser import CommandParser, examples

REFUSED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127

_ATTACH_SOCKET = "attach.sock"
_USAGE = "secretfs run [OPTIONS] -- CMD [ARG...]"
_EXAMPLES = examples(
    "secretfs run --secret my_secret -- cat /run/secrets/my_secret",
    "secretfs run --service web --user nobody --file-vars -- env",
)


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``run``."""
    parser = commands.add_parser(
        "run",
        help="run a program with its secrets in place",
        description="Become CMD, with the secrets of a service and those given here as files only it sees.",
        epilog=_EXAMPLES,
        usage=_USAGE,
    )
    parser.add_argument("--service", metavar="NAME", help="the service whose grants the program gets")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="SECRET",
        help="one more secret: NAME or source=NAME,target=FILE,uid=USER,gid=GROUP,mode=0440",
    )
    parser.add_argument(
        "--target-dir", default="/run/secrets", metavar="DIR", help="where they appear (default /run/secrets)"
    )
    parser.add_argument("--user", metavar="USER[:GROUP]", help="run the program as this user")
    parser.add_argument("--file-vars", action="store_true", help="set NAME_FILE to the path of each secret")
    parser.add_argument("--until", choices=["leader"], help="flush when CMD itself ends, not when its last child does")
    parser.add_argument("--allow-new-privileges", action="store_true", help="let CMD use setuid programs such as sudo")
    parser.add_argument("command", nargs=REMAINDER, metavar="CMD", help=SUPPRESS)
    parser.set_defaults(handler=run)


def run(arguments: Namespace) -> int:
    """Become the program; an exit code comes back only when it was not started."""
    from secretfs.cli import output
    from secretfs.errors import ProgramNotExecutableError, ProgramNotFoundError, SecretfsError, UsageError

    try:
        _become(arguments)
    except UsageError:
        raise
    except ProgramNotFoundError as exc:
        output.failure(exc)
        return NOT_FOUND
    except ProgramNotExecutableError as exc:
        output.failure(exc)
        return NOT_EXECUTABLE
    except SecretfsError as exc:
        output.failure(exc)
        return REFUSED


def _become(arguments: Namespace) -> "NoReturn":
    from secretfs.cli.client import host_of, socket_path
    from secretfs.cli.output import warning
    from secretfs.errors import UsageError
    from secretfs.runtimes.run import run as become

    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("a program is required: " + _USAGE)
    request = {
        "Service": arguments.service,
        "Secrets": [_grant(text) for text in arguments.secret],
        "UntilLeader": arguments.until == "leader",
    }
    become(
        command,
        socket_path=_attach_socket(socket_path(host_of(arguments))),
        request=request,
        target_dir=arguments.target_dir,
        user=arguments.user,
        file_vars=arguments.file_vars,
        allow_new_privileges=arguments.allow_new_privileges,
        warn=warning,
    )


def _attach_socket(host: str) -> str:
    """The attach socket itself, of a service as well, or the one beside the API's."""
    return host if os.path.basename(host) == _ATTACH_SOCKET else os.path.join(os.path.dirname(host), _ATTACH_SOCKET)


def _grant(text: str) -> dict[str, object]:
    """A ``--secret`` value as the attach socket takes it. Raises: UsageError, naming the value."""
    from secretfs.core.grant import parse_grant
    from secretfs.core.names import Kind
    from secretfs.errors import InvalidGrantError, UsageError

    try:
        grant = parse_grant(text, Kind.SECRET)
    except InvalidGrantError as exc:
        raise UsageError(f'invalid argument "{text}" for "--secret" flag: {exc}') from None
    return {
        "source": grant.source,
        "target": grant.target,
        "uid": grant.uid,
        "gid": grant.gid,
        "mode": grant.mode,
        "version": grant.version,
    }


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn
