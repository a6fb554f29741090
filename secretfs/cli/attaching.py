"""What ``run`` and ``mount`` share: which grants, and from which daemon. Rule: a wrong value is told before the daemon
is asked.
"""

import os
from argparse import Namespace

from secretfs.cli.parser import CommandParser

_ATTACH_SOCKET = "attach.sock"


def add_grant_flags(parser: CommandParser) -> None:
    """``--service`` and ``--secret``."""
    parser.add_argument("--service", metavar="NAME", help="the service whose grants it gets")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="SECRET",
        help="one more secret: NAME or source=NAME,target=FILE,uid=USER,gid=GROUP,mode=0440",
    )


def request_of(arguments: Namespace) -> dict[str, object]:
    """Service and Secrets of the first message to the attach socket. Raises: UsageError."""
    return {"Service": arguments.service, "Secrets": [_grant(text) for text in arguments.secret]}


def attach_socket(arguments: Namespace) -> str:
    """The attach socket that is named, of a service as well, or the one beside the API's. Raises: UsageError."""
    from secretfs.cli.client import host_of, socket_path

    host = socket_path(host_of(arguments))
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
