"""``secretfs doctor``. Rule: a line for each check, and below it what to do; exit code 1 when one has failed."""

import os
from argparse import Namespace, _SubParsersAction

from secretfs.cli import answers, output
from secretfs.cli.daemon import RUNTIME_DIR, STATE_DIR, default_places, root_key_source
from secretfs.cli.host import own_runtime_dir
from secretfs.cli.parser import CommandParser, examples
from secretfs.errors import SecretfsError, UsageError

ANSWER_SECONDS = 5.0
FAILED = 1
_HEADER = ("CHECK", "RESULT", "FOUND")


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``doctor``."""
    parser = commands.add_parser(
        "doctor",
        help="check this host and the daemon, and say what to do",
        description="Check whether this host is fit for secretfs, and whether the daemon is well. Changes nothing.",
        epilog=examples("secretfs doctor", "secretfs doctor --format json"),
    )
    add = parser.add_argument
    add("--format", metavar="FORMAT", help="table, or json (an object a line)")
    add("--runtime-dir", metavar="DIR", help=f"the daemon's sockets (default: that of --host, or {RUNTIME_DIR})")
    add("--state-dir", metavar="DIR", help=f"the store (default {STATE_DIR}, or a running daemon's)")
    add("--mountpoint", metavar="DIR", help="the file system (default RUNTIME_DIR/mnt, or a running daemon's)")
    add("--root-key", metavar="SOURCE", help="as the daemon's (default: a running daemon's)")
    parser.set_defaults(handler=doctor)


def doctor(arguments: Namespace) -> int:
    """Look, judge, print."""
    from secretfs.doctor.checkup import facts_of, verdicts
    from secretfs.doctor.daemon import Places
    from secretfs.doctor.verdict import Level

    form = arguments.format or "table"
    if form not in ("table", "json"):
        raise UsageError(f"invalid argument {form!r} for --format: table or json")
    runtime_dir = _runtime_dir(arguments)
    default = default_places(rootless=runtime_dir == own_runtime_dir())
    mountpoint = os.path.abspath(arguments.mountpoint or os.path.join(runtime_dir, "mnt"))
    places = Places(
        os.path.abspath(arguments.state_dir or default["state_dir"]),
        runtime_dir,
        mountpoint,
        root_key_source(arguments.root_key or default["root_key"]),
    )
    found = verdicts(facts_of(places, _asked(f"unix://{runtime_dir}/api.sock")))
    if form == "json":
        for each in found:
            record = {"Check": each.check, "Result": each.level.value, "Found": each.found, "Do": each.todo}
            output.line(output.compact(record))
    else:
        output.table([_HEADER, *(row for each in found for row in _rows(each))])
    return FAILED if any(each.level is Level.FAIL for each in found) else 0


def _rows(verdict: "Verdict") -> list[tuple[str, ...]]:
    """What was found, and in a line of its own what to do."""
    todo = [("", "", f"do: {verdict.todo}")] if verdict.todo else []
    return [(verdict.check, verdict.level.value, verdict.found), *todo]


def _runtime_dir(arguments: Namespace) -> str:
    from secretfs.cli.host import host_of, socket_path

    return os.path.abspath(arguments.runtime_dir or os.path.dirname(socket_path(host_of(arguments))))


def _asked(host: str) -> "Said":
    """What the daemon there says, or why it says nothing."""
    from secretfs.cli.client import Client
    from secretfs.cli.host import socket_path
    from secretfs.doctor.facts import Said

    client = Client(host, silence_seconds=ANSWER_SECONDS)
    try:
        version = answers.text(client.get("/version"), "Version")
        return Said(version, answers.text(client.get("/info"), "Swarm", "LocalNodeState") == "locked")
    except SecretfsError as exc:
        path = socket_path(host)
        return Said(silence=str(exc), closed=os.path.exists(path) and not os.access(path, os.W_OK))


TYPE_CHECKING = False
if TYPE_CHECKING:
    from secretfs.doctor.facts import Said
    from secretfs.doctor.verdict import Verdict
