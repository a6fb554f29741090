"""``secretfs wait``. Rule: whatever is missing, the daemon too, is waited for; at the end it is named."""

import json
import time
from argparse import Namespace, _SubParsersAction

from secretfs.cli.parser import CommandParser, examples

TIMEOUT = 1
ROUND_SECONDS = 10.0  # of one request, which the daemon answers as soon as nothing is missing
PAUSE_SECONDS = 0.1  # while nobody listens: a socket that will be there cannot be watched portably


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``wait``."""
    parser = commands.add_parser(
        "wait",
        help="wait for the daemon, and for secrets to be there",
        description="Return when the daemon answers and each SECRET is there; with --service, when that service is\n"
        "there and is granted each of them. For scripts and units, before what needs them is started.",
        epilog=examples("secretfs wait", "secretfs wait --timeout 5s --service web my_secret"),
    )
    parser.add_argument("--service", metavar="SERVICE", help="a service, which must be granted the secrets")
    parser.add_argument("--timeout", default="30s", metavar="DURATION", help="then exit with 1 (default 30s)")
    parser.add_argument("secret", metavar="SECRET", nargs="*", help="a name, or a whole id")
    parser.set_defaults(handler=wait)


def wait(arguments: Namespace) -> int:
    """0 when all is there; TIMEOUT, and a message that names what is not. Raises: UsageError."""
    from secretfs.cli import answers, output
    from secretfs.cli.commands import client_of
    from secretfs.cli.durations import seconds
    from secretfs.errors import UnavailableError

    deadline = time.monotonic() + seconds(arguments.timeout, flag="--timeout")
    query = {"secrets": json.dumps(arguments.secret)}
    if arguments.service is not None:
        query["service"] = arguments.service
    while True:
        left = deadline - time.monotonic()
        try:
            query["seconds"] = f"{max(min(left, ROUND_SECONDS), 0):.3f}"
            client = client_of(arguments)  # a user's own daemon is found when it is there
            missing = [str(text) for text in answers.items(client.get("/secretfs/v1/wait", query), "Missing")]
            if not missing:
                return 0
            failure = UnavailableError(f"not there after {arguments.timeout}: {', '.join(missing)}")
        except UnavailableError as exc:
            failure = exc
        if time.monotonic() >= deadline:
            output.failure(failure)
            return TIMEOUT
        time.sleep(min(PAUSE_SECONDS, max(deadline - time.monotonic(), 0)))
