"""``secretfs swarm``. Rule: docker swarm, to the letter, for the lock of the store.

The unlock key is read from a terminal that does not show it, or from one line of standard input, and never from the
command line.
"""

import os
import sys
from argparse import Namespace, _SubParsersAction

from secretfs.cli import answers, output
from secretfs.cli.client import Client, encoded
from secretfs.cli.commands import client_of
from secretfs.cli.parser import BOOLEANS, CommandParser, add_commands, examples
from secretfs.errors import ConflictError, NotFoundError, PreconditionError, UsageError

_PROMPT = "Enter unlock key: "
_MAX_LINE_BYTES = 4096


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``swarm`` and its commands."""
    noun = commands.add_parser(
        "swarm",
        help="lock and unlock the store",
        description="With autolock on, a daemon that starts shows nothing new until somebody gives the unlock key.",
        epilog=examples("secretfs swarm update --autolock=true", "secretfs swarm unlock"),
    )
    verbs = add_commands(noun)
    parser = verbs.add_parser(
        "update",
        help="switch autolock on or off",
        description="Switch autolock on, and print the unlock key, or off.",
        epilog=examples("secretfs swarm update --autolock=true", "secretfs swarm update --autolock=false"),
    )
    parser.add_argument("--autolock", metavar="true|false", required=True, help="whether a start takes the unlock key")
    parser.set_defaults(handler=update)
    parser = verbs.add_parser(
        "unlock",
        help="unlock the store",
        description="Unlock the store: asks for the unlock key, or reads it from standard input.",
        epilog=examples("secretfs swarm unlock", "secretfs swarm unlock < /root/unlock.key"),
    )
    parser.set_defaults(handler=unlock)
    parser = verbs.add_parser(
        "unlock-key",
        help="show or replace the unlock key",
        description="Show the unlock key, or replace it by another: then the one before opens nothing.",
        epilog=examples("secretfs swarm unlock-key", "secretfs swarm unlock-key -q --rotate"),
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="the key alone")
    parser.add_argument("--rotate", action="store_true", help="replace it first")
    parser.set_defaults(handler=unlock_key)


def update(arguments: Namespace) -> int:
    """Switch autolock; print the unlock key when it was off before."""
    wanted = BOOLEANS.get(arguments.autolock)
    if wanted is None:
        raise UsageError(f"invalid argument {arguments.autolock!r} for --autolock: true or false")
    client = client_of(arguments)
    swarm = client.get("/swarm")
    before = _autolock(swarm)
    _update(client, swarm, autolock=wanted)
    output.line("Swarm updated.")
    if wanted and not before:
        _show(client, _key_of(client))
    return 0


def unlock_key(arguments: Namespace) -> int:
    """Print the unlock key, after replacing it if that is wanted."""
    client = client_of(arguments)
    if arguments.rotate:
        swarm = client.get("/swarm")
        if not _autolock(swarm):
            raise PreconditionError("cannot rotate because autolock is not turned on")
        _update(client, swarm, autolock=True, rotate=True)
        if not arguments.quiet:
            output.line("Successfully rotated manager unlock key.")
    key = _key_of(client)
    if not key:
        raise NotFoundError("no unlock key is set")
    _show(client, key, quiet=arguments.quiet)
    return 0


def unlock(arguments: Namespace) -> int:
    """Ask for the key, and unlock."""
    client = client_of(arguments)
    match answers.text(client.get("/info"), "Swarm", "LocalNodeState"):
        case "inactive":
            raise ConflictError("this node is not part of a swarm")
        case "locked":
            pass
        case _:
            raise ConflictError("swarm is not locked")
    client.post("/swarm/unlock", encoded({"UnlockKey": _read_key()}))
    return 0


def _update(client: Client, swarm: object, *, autolock: bool, rotate: bool = False) -> None:
    spec = answers.at(swarm, "Spec")
    fields = dict(spec) if isinstance(spec, dict) else {}
    fields["EncryptionConfig"] = {"AutoLockManagers": autolock}
    query = {"version": str(answers.number(swarm, "Version", "Index"))}
    client.post("/swarm/update", encoded(fields), query | ({"rotateManagerUnlockKey": "true"} if rotate else {}))


def _autolock(swarm: object) -> bool:
    return answers.at(swarm, "Spec", "EncryptionConfig", "AutoLockManagers") is True


def _key_of(client: Client) -> str:
    return answers.text(client.get("/swarm/unlockkey"), "UnlockKey")


def _read_key() -> str:
    """One line, from whoever types it or from a file or pipe."""
    try:
        if os.isatty(0):
            import getpass

            return getpass.getpass(_PROMPT).strip()
        with open(0, "rb", closefd=False) as stdin:
            return stdin.readline(_MAX_LINE_BYTES).decode("latin-1").strip()
    except (EOFError, OSError):  # nothing is there: refused as no key, as everything else that is none
        return ""


def _show(client: Client, key: str, *, quiet: bool = False) -> None:
    """Print the key; when this returns, the daemon's next start takes it: it answers this after writing that down."""
    for line in (key,) if quiet else _hint(key):
        output.line(line)
    sys.stdout.flush()
    client.get("/swarm")


def _hint(key: str) -> tuple[str, ...]:
    return (
        "To unlock a swarm manager after it restarts, run the `secretfs swarm unlock`",
        "command and provide the following key:",
        "",
        f"    {key}",
        "",
        "Remember to store this key in a password manager, since without it you",
        "will not be able to restart the manager.",
    )
