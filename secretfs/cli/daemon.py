"""``secretfs daemon``. Rule: what is typed is checked here; the supervisor, which has no parser, gets plain words.

The process becomes the supervisor in place: same pid, for a shell's job control and for systemd.
"""

import os
import re
import resource
import sys
from argparse import Namespace, _SubParsersAction
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NoReturn

from secretfs.cli.host import own_runtime_dir
from secretfs.cli.parser import CommandParser, examples
from secretfs.errors import SetupError, UsageError
from secretfs.link.layout import MAILBOX_BYTES, MAX_ARENA_BYTES, MIN_ARENA_BYTES, PAGE
from secretfs.link.spawn import AUDIT_BYTES, AUDIT_SECONDS, SupervisorStart
from secretfs.supervisor import signals

STATE_DIR: Final = "/var/lib/secretfs"
RUNTIME_DIR: Final = "/run/secretfs"
ROOT_KEY: Final = "file:/etc/secretfs/root.key"
ARENA_MAX: Final = "256M"
AUDIT_MAX: Final = f"{AUDIT_BYTES >> 20}M"
AUDIT_DAYS: Final = str(AUDIT_SECONDS // 86400)
MIN_AUDIT_BYTES: Final = 1 << 20
DEFAULT_SPIN_US: Final = 50
MAX_SPIN_US: Final = 1000
_SIZE: Final = re.compile(r"([0-9]{1,15})([KMG]?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SOURCES: Final = ("file:", "credential:", "exec:")
_PLACES: Final = {"state_dir": STATE_DIR, "runtime_dir": RUNTIME_DIR, "root_key": ROOT_KEY, "arena_max": ARENA_MAX}
_EXAMPLES: Final = examples(
    "secretfs daemon",
    "secretfs daemon --rootless",
    "secretfs daemon --state-dir /srv/secretfs --runtime-dir /run/secretfs-test --root-key file:/root/test.key",
)


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``daemon``."""
    parser = commands.add_parser(
        "daemon",
        help="serve secrets on this host",
        description="Mount the file system and serve API and tasks, in the foreground, until SIGTERM.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("--state-dir", metavar="DIR", help=f"the encrypted store (default {STATE_DIR})")
    add("--runtime-dir", metavar="DIR", help=f"sockets (default {RUNTIME_DIR})")
    add("--mountpoint", metavar="DIR", help="where the file system is mounted (default RUNTIME_DIR/mnt)")
    add("--root-key", metavar="SOURCE", help="file:PATH, credential:NAME or exec:PROGRAM")
    add("--arena-max", metavar="SIZE", help=f"memory for granted values (default {ARENA_MAX})")
    add("--spin-us", default=None, metavar="N", help=f"poll so long before sleeping (default {DEFAULT_SPIN_US})")
    add("--audit-max-size", metavar="SIZE", default=AUDIT_MAX, help=f"keep so much of the audit (default {AUDIT_MAX})")
    add("--audit-max-age", metavar="DAYS", default=AUDIT_DAYS, help=f"keep it so long (default {AUDIT_DAYS} days)")
    add("--takeover", action="store_true", help="replace the daemon that runs, unnoticed by its tasks")
    add("--rootless", action="store_true", help="as an ordinary user, in a user namespace, for this user alone")
    parser.set_defaults(handler=become_supervisor)


def become_supervisor(arguments: Namespace) -> NoReturn:
    """Check the options, and become the supervisor. Raises: UsageError, SetupError."""
    start = _start_of(arguments)
    if arguments.rootless:
        start = replace(start, home_mnt=_become_root(start.runtime_dir))
    elif os.geteuid() != 0:
        refusal = SetupError("the daemon must be run as root: use sudo")
        refusal.add_note("or start one for yourself alone: secretfs daemon --rootless")
        raise refusal
    signals.hold_back()
    command = [sys.executable, "-P", "-m", "secretfs.supervisor", *start.words()]
    os.execv(sys.executable, command)  # noqa: S606 - there is no shell to be without


def _become_root(runtime_dir: str) -> int:
    from secretfs.runtimes.rootless import become_root

    return become_root(runtime_dir)


def _start_of(arguments: Namespace) -> SupervisorStart:
    _fill_in(arguments, default_places(rootless=arguments.rootless))
    runtime_dir = _absolute(arguments.runtime_dir, "--runtime-dir")
    mountpoint = arguments.mountpoint if arguments.mountpoint is not None else os.path.join(runtime_dir, "mnt")
    return SupervisorStart(
        _absolute(arguments.state_dir, "--state-dir"),
        runtime_dir,
        _absolute(mountpoint, "--mountpoint"),
        root_key_source(arguments.root_key),
        _arena_bytes(arguments.arena_max),
        _spin_us(arguments.spin_us),
        int(arguments.takeover),
        audit_bytes=_bytes(arguments.audit_max_size, "--audit-max-size", MIN_AUDIT_BYTES),
        audit_seconds=_audit_seconds(arguments.audit_max_age),
    )


def default_places(*, rootless: bool) -> Mapping[str, str]:
    """What the options are that were not given."""
    return _own_places() if rootless else _PLACES


def _fill_in(arguments: Namespace, defaults: Mapping[str, str]) -> None:
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if not arguments.runtime_dir:
        raise UsageError("$XDG_RUNTIME_DIR is not set: name a directory with --runtime-dir, for sockets")


def _own_places() -> dict[str, str]:
    """Of an ordinary user, by the XDG base directory specification; memory as much as this user may lock."""
    home = os.path.expanduser("~")
    state = os.environ.get("XDG_STATE_HOME") or f"{home}/.local/state"
    config = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    return {
        "state_dir": f"{state}/secretfs",
        "runtime_dir": own_runtime_dir() or "",
        "root_key": f"file:{config}/secretfs/root.key",
        "arena_max": _lockable(),
    }


def _lockable() -> str:
    """What RLIMIT_MEMLOCK leaves for the arena beside two mailboxes, the old and the new; all, when that is more."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    most = _arena_bytes(ARENA_MAX)
    rest = most if limit == resource.RLIM_INFINITY else limit - 2 * MAILBOX_BYTES
    return str(min(max(rest, MIN_ARENA_BYTES), most))


def _absolute(path: str, option: str) -> str:
    if not path or "\0" in path:
        raise UsageError(f"invalid argument {path!r} for {option}: a directory is needed")
    return os.path.abspath(path)


def root_key_source(source: str) -> str:
    """A root key source that can be one, its path absolute. Raises: UsageError."""
    if not source.startswith(_SOURCES) or source in _SOURCES:
        raise UsageError(f"invalid argument {source!r} for --root-key: file:PATH, credential:NAME or exec:PROGRAM")
    if source.startswith("file:"):
        return "file:" + _absolute(source.removeprefix("file:"), "--root-key")
    return source


def _arena_bytes(text: str) -> int:
    return _bytes(text, "--arena-max", MIN_ARENA_BYTES) // PAGE * PAGE


def _bytes(text: str, option: str, least: int) -> int:
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not least <= size <= MAX_ARENA_BYTES:
        raise UsageError(f"invalid argument {text!r} for {option}: a size from 1M to 64G, such as 256M")
    return size


def _audit_seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text)):
        raise UsageError(f"invalid argument {text!r} for --audit-max-age: a number of days, such as {AUDIT_DAYS}")
    return int(text) * 86400


def _spin_us(text: str | None) -> int:
    """With one processor there is nobody to spin for."""
    if text is None:
        return DEFAULT_SPIN_US if len(os.sched_getaffinity(0)) > 1 else 0
    if not text.isascii() or not text.isdecimal() or int(text) > MAX_SPIN_US:
        raise UsageError(f"invalid argument {text!r} for --spin-us: microseconds, 0 to {MAX_SPIN_US}")
    return int(text)
