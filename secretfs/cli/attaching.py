"""What ``run`` and ``mount`` share: which grants, and from which daemon. Rule: a wrong value is told before the daemon
is asked.
"""

import os

_ATTACH_SOCKET = "attach.sock"


def add_grant_flags(parser: "CommandParser", *kinds: str) -> None:
    """``--service``, and a flag for each kind: secret, config."""
    parser.add_argument("--service", metavar="SERVICE", help="the service whose grants it gets")
    for kind in kinds:
        parser.add_argument(
            f"--{kind}",
            action="append",
            default=[],
            metavar=kind.upper(),
            help=f"one more {kind}: NAME or source=NAME,target=FILE,uid=USER,gid=GROUP,mode=0440,version=N",
        )


def request_of(arguments: "Namespace | Arguments") -> dict[str, object]:
    """Service, Secrets and Configs of the first message to the attach socket. Raises: UsageError."""
    grants = {f"{kind.capitalize()}s": _grants(arguments, kind) for kind in ("secret", "config")}
    return {"Service": arguments.service, **grants}


def _grants(arguments: "Namespace | Arguments", kind: str) -> list[object]:
    return [_grant(text, kind) for text in getattr(arguments, kind, ())]


def attach_socket(arguments: "Namespace | Arguments") -> str:
    """The attach socket that is named, of a service as well, or the one beside the API's. Raises: UsageError."""
    from secretfs.cli.host import host_of, socket_path

    host = socket_path(host_of(arguments))
    return host if os.path.basename(host) == _ATTACH_SOCKET else os.path.join(os.path.dirname(host), _ATTACH_SOCKET)


def _grant(text: str, kind: str) -> dict[str, object]:
    """A ``--secret`` or ``--config`` value as the attach socket takes it. Raises: UsageError, naming the value."""
    from secretfs.core.grant_syntax import parse_fields
    from secretfs.errors import InvalidGrantError, UsageError

    try:
        grant = parse_fields(text, kind)
    except InvalidGrantError as exc:
        raise UsageError(f'invalid argument "{text}" for "--{kind}" flag: {exc}') from None
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
    from argparse import Namespace

    from secretfs.cli.parser import CommandParser
    from secretfs.cli.plain import Arguments
