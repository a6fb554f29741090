"""``secretfs key``. Rule: the daemon does the work, so that it is done whatever becomes of the command line."""

import time
from argparse import Namespace, _SubParsersAction

from secretfs.cli import answers, output
from secretfs.cli.client import Client
from secretfs.cli.commands import add_listing_flags, client_of
from secretfs.cli.listing import Columns, show
from secretfs.cli.parser import CommandParser, add_commands, examples
from secretfs.errors import CorruptRecordError, LockedError, UnavailableError

POLL_SECONDS = 0.1
TELL_SECONDS = 1.0  # between two lines of progress
AWAY_SECONDS = 15.0  # for which control may be away: it goes on when it is back

COLUMNS = Columns("*key.keyContext", {"ID": "ID", "Active": "ACTIVE", "Values": "VALUES"}, ("ID", "Active", "Values"))


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``key`` and its commands."""
    noun = commands.add_parser(
        "key",
        help="rotate the key that wraps all others",
        description="Every value has a key of its own. A key-encryption key wraps these; this is about that one.",
        epilog=examples("secretfs key rotate", "secretfs key ls"),
    )
    verbs = add_commands(noun)
    parser = verbs.add_parser(
        "rotate",
        help="replace the key-encryption key",
        description="Make a new key-encryption key, wrap every value's key by it, and forget the one before.\n"
        "The daemon does it, and is in nobody's way meanwhile; interrupted, it goes on when it starts again.",
        epilog=examples("secretfs key rotate"),
    )
    parser.set_defaults(handler=rotate)
    parser = verbs.add_parser(
        "ls",
        aliases=["list"],
        help="list key-encryption keys",
        description="List key-encryption keys: one, but for the time of a rotation.\nPlaceholders: .ID .Active .Values",
        epilog=examples("secretfs key ls"),
    )
    add_listing_flags(parser)
    parser.set_defaults(handler=ls)


def rotate(arguments: Namespace) -> int:
    """Begin, or join, a rotation, and wait for its end; print the id of the new key."""
    client = client_of(arguments)
    key_id = answers.text(client.post("/secretfs/v1/keys/rotation", b""), "ID")
    told = time.monotonic()
    while answers.at(progress := _progress(client), "Running"):
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            done, total = answers.number(progress, "Done"), answers.number(progress, "Total")
            output.progress(f"rewrapped {done} of {total}")
        time.sleep(POLL_SECONDS)
    failure = answers.text(progress, "Failure")
    if failure:
        raise CorruptRecordError(failure)
    output.line(key_id)
    return 0


def ls(arguments: Namespace) -> int:
    """Print the keys."""
    rows = [
        COLUMNS.row(
            {
                "ID": answers.text(key, "ID"),
                "Active": "*" if answers.at(key, "Active") else "",
                "Values": str(answers.number(key, "Values")),
            }
        )
        for key in answers.items(client_of(arguments).get("/secretfs/v1/keys"))
    ]
    show(rows, COLUMNS, form=arguments.format, quiet=arguments.quiet)
    return 0


def _progress(client: Client) -> object:
    """How far it is; a control that was replaced is waited for."""
    deadline = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            return client.get("/secretfs/v1/keys/rotation")
        except LockedError:
            raise
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
