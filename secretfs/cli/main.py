"""The ``secretfs`` program. Rule: only the module of the noun that was asked for is imported; every way
to end has its exit code.
"""

import os
import sys

from secretfs.cli.plain import run_arguments

REFUSED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, what a shell shows for a program that Ctrl-C ended
CLOSED_PIPE = 141  # 128 + SIGPIPE, as for any program whose reader went away
COMPLETE = "__complete"  # what the shells ask; it is in no help

MODULES = {
    "secret": "secretfs.cli.secret",
    "config": "secretfs.cli.config",
    "service": "secretfs.cli.service",
    "stack": "secretfs.cli.stack",
    "run": "secretfs.cli.run",
    "mount": "secretfs.cli.mount",
    "ps": "secretfs.cli.task",
    "detach": "secretfs.cli.task",
    "audit": "secretfs.cli.audit",
    "wait": "secretfs.cli.wait",
    "swarm": "secretfs.cli.swarm",
    "key": "secretfs.cli.key",
    "daemon": "secretfs.cli.daemon",
    "doctor": "secretfs.cli.doctor",
    "completion": "secretfs.cli.completion",
}

EXAMPLES = (
    "printf 'This is a secret' | secretfs secret create my_secret -",
    "secretfs service create --secret my_secret web",
    "secretfs run --service web -- cat /run/secrets/my_secret",
    "secretfs ps",
)


def program() -> "NoReturn":
    """What is installed as ``secretfs``. It ends at once: to take Python apart would be a tenth of a listing's time."""
    os._exit(main())


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run the command line and yield its exit code; messages are already printed then."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _ended(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return CLOSED_PIPE
    except OSError as exc:
        from secretfs.cli import output

        _abandon_stdout()
        output.error(f"cannot write the output: {(exc.strerror or str(exc)).lower()}")
        return REFUSED
    return code


def _ended(words: list[str]) -> int:
    if (plain := run_arguments(words)) is not None:
        return _run(plain)
    from secretfs.cli import output
    from secretfs.errors import SecretfsError, UsageError

    prog = "secretfs"
    output.prepare()
    if words[:1] == [COMPLETE]:
        from secretfs.cli.completion import answer

        return answer(_parser([]), words[1:])
    try:
        arguments = _parser(words).parse_args(words)
        prog = arguments.prog
        if not hasattr(arguments, "handler"):
            raise UsageError("a command is required")
        code: int = arguments.handler(arguments)
    except UsageError as exc:
        return _misused(exc, prog)
    except SecretfsError as exc:
        output.failure(exc)
        return REFUSED
    except SystemExit as exc:  # argparse, after --help and --version
        return int(exc.code or 0)
    return code


def _run(arguments: "Arguments") -> int:
    """The one command that others wait for: nothing is imported for it that can be left out."""
    from secretfs.cli.run import run
    from secretfs.errors import UsageError

    try:
        return run(arguments)
    except UsageError as exc:
        return _misused(exc, arguments.prog)


def _misused(failure: "UsageError", prog: str) -> int:
    from secretfs.cli import output

    if not hasattr(failure, "__notes__"):
        failure.add_note(f"see '{prog} --help'")
    output.prepare()
    output.failure(failure)
    return USAGE


def _parser(words: "Sequence[str]") -> "CommandParser":
    from importlib import import_module

    from secretfs import __version__
    from secretfs.cli.parser import CommandParser, add_commands, examples

    parser = CommandParser(
        prog="secretfs",
        description="Secrets for what runs on this host: encrypted at rest, files in RAM while a task runs.",
        epilog=examples(*EXAMPLES),
    )
    parser.add_argument("-v", "--version", action="version", version=f"secretfs {__version__}")
    commands = add_commands(parser)
    for module in _modules(words):
        import_module(module).register(commands)
    return parser


def _modules(words: "Sequence[str]") -> list[str]:
    """The module of the noun, when the first word is one or follows the host; else all of them, for help
    and for error texts.
    """
    rest = list(words)
    while rest and (rest[0] in ("-H", "--host") or rest[0].startswith("--host=")):
        rest = rest[1 if "=" in rest[0] else 2 :]
    if rest and rest[0] in MODULES:
        return [MODULES[rest[0]]]
    return list(dict.fromkeys(MODULES.values()))


def _abandon_stdout() -> None:
    """Point stdout at nothing, so that the flush at exit does not fail a second time."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from secretfs.cli.parser import CommandParser
    from secretfs.cli.plain import Arguments
    from secretfs.errors import UsageError

if __name__ == "__main__":
    program()
