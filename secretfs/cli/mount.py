"""``secretfs mount``. Rule: when it has ended, whatever ended it, there is no mount and nothing to read."""

from argparse import Namespace, _SubParsersAction

from secretfs.cli.attaching import add_grant_flags, attach_socket, request_of
from secretfs.cli.parser import CommandParser, examples

DETACHED = 1

_DESCRIPTION = """Mount the secrets of a service, and those given here, on PATH: a directory of this host, of a chroot,
or, as /proc/PID/root/PATH, of a container. Prints the task's id when they are there, and stays in the foreground until
SIGINT, SIGTERM or 'umount PATH'; then they are flushed. Everybody who can reach PATH sees the files: owner and mode
of each say who reads it."""


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``mount``."""
    parser = commands.add_parser(
        "mount",
        help="show secrets at any path (root)",
        description=_DESCRIPTION,
        epilog=examples(
            "secretfs mount /srv/jail/run/secrets --service web",
            "secretfs mount /proc/$(docker inspect --format '{{.State.Pid}}' web)/root/run/secrets --service web",
        ),
    )
    add_grant_flags(parser, "secret")
    parser.add_argument("path", metavar="PATH", help="a directory that is there")
    parser.set_defaults(handler=mount)


def mount(arguments: Namespace) -> int:
    """Mount, wait, flush. Raises: AttachError, when nothing was mounted; UnavailableError, when nobody flushed."""
    from secretfs.cli import output
    from secretfs.cli.client import quoted
    from secretfs.cli.commands import client_of
    from secretfs.errors import NotFoundError
    from secretfs.runtimes.mount import serve

    client = client_of(arguments)
    gone: list[str] = []

    def detach(task: str) -> None:
        try:
            client.delete(f"/secretfs/v1/tasks/{quoted(task)}")
        except NotFoundError:
            gone.append(task)

    end = serve(
        arguments.path,
        socket_path=attach_socket(arguments),
        request=request_of(arguments),
        ready=_ready,
        detach=detach,
    )
    if gone:
        output.error(f"task {gone[0]} was detached by somebody else: nothing is mounted any more")
        return DETACHED
    output.progress(f"flushed: {end.value}")
    return 0


def _ready(task: str, path: str) -> None:
    import sys

    from secretfs.cli import output

    output.line(task)
    sys.stdout.flush()
    output.progress(f"mounted on {path}")
