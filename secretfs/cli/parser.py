"""Argument parsing. Rule: flags may stand anywhere before ``--``, as with docker, and a wrong command line
is told in docker's words.

argparse alone takes operands greedily (``create NAME --label a=b FILE`` fails) and reads a flag's value
that begins with a dash as a flag. So each parser first puts the words in order, as getopt does: flags,
each glued to its value, then ``--``, then operands. A command whose operands are another command line (a
sub-command, or ``nargs=REMAINDER``) ends at its first operand.
"""

import argparse
import os
from collections import deque
from collections.abc import Sequence

from secretfs.errors import UsageError

# argparse would look for a translation of each of its words, in all directories of the locale. The words here have
# none, and a mixture of two languages is no help.
setattr(argparse, "_", lambda text: text)  # noqa: B010 - its stubs do not have it

_CLOSE = 0.7  # of 1: how like a known word another must be, to be taken for a slip
BOOLEANS = {  # strconv.ParseBool
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
HOST_HELP = "the daemon's socket (default $SECRETFS_HOST or unix:///run/secretfs/api.sock)"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse would import shutil for that, for every single argument."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_terminal_columns() - 2)


def _terminal_columns() -> int:
    try:
        return max(os.get_terminal_size(1).columns, 40)
    except OSError:
        return 100  # a file or a pipe


class CommandParser(argparse.ArgumentParser):
    """A parser that raises UsageError with a hint instead of printing and leaving."""

    def __init__(
        self,
        prog: str | None = None,
        usage: str | None = None,
        description: str | None = None,
        epilog: str | None = None,
        add_help: bool = True,
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            add_help=add_help,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self.add_argument("-H", "--host", metavar="ADDRESS", default=argparse.SUPPRESS, help=HOST_HELP)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but nothing is ever left over. The namespace names the command as ``prog``."""
        arranged = self._arranged(args or ())
        parsed, extras = super().parse_known_args(arranged, namespace)
        unexpected = [word for word in extras if word != "--"]
        if unexpected:
            self.error(f"unexpected argument {unexpected[0]!r}")
        if "prog" not in parsed:
            parsed.prog = self.prog
        return parsed, []

    def error(self, message: str) -> "NoReturn":
        """Refuse the command line.

        Raises: UsageError, always.
        """
        failure = UsageError(message)
        failure.add_note(f"see '{self.prog} --help'")
        raise failure

    def _check_value(self, action: argparse.Action, value: str) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            self.error(_unknown_command(value, self.prog, list(action.choices)))
        super()._check_value(action, value)

    def _arranged(self, words: Sequence[str]) -> list[str]:
        flags: list[str] = []
        operands: list[str] = []
        queue = deque(words)
        nested = any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._actions)
        while queue:
            word = queue.popleft()
            if word.startswith("-") and word not in ("-", "--"):
                flags += self._long(word, queue) if word.startswith("--") else self._short(word, queue)
            elif nested:
                return [*flags, word, *queue]
            elif word == "--":
                operands += queue
                break
            else:
                operands.append(word)
        return [*flags, "--", *operands] if operands else flags

    def _long(self, word: str, queue: deque[str]) -> list[str]:
        flag, equals, value = word.partition("=")
        action = self._option_string_actions.get(flag)
        if action is None:
            self.error(f"unknown flag: {flag}{_meant(flag, list(self._option_string_actions))}")
        if action.nargs == 0:
            if equals and value not in BOOLEANS:
                self.error(f"invalid argument {value!r} for {flag}: true or false")
            return [flag] if not equals or BOOLEANS[value] else []
        if not equals:
            if not queue:
                self.error(f"flag needs an argument: {flag}")
            value = queue.popleft()
        return [f"{flag}={value}"]

    def _short(self, word: str, queue: deque[str]) -> list[str]:
        arranged: list[str] = []
        for position, letter in enumerate(word[1:], start=2):
            action = self._option_string_actions.get(f"-{letter}")
            if action is None:
                self.error(f"unknown shorthand flag: {letter!r} in {word}")
            if action.nargs == 0 and word[position:].startswith("="):
                return [*arranged, *self._long(action.option_strings[-1] + word[position:], queue)]
            if action.nargs == 0:
                arranged.append(f"-{letter}")
                continue
            attached = word[position:].removeprefix("=")
            if word[position:] == "" and not queue:
                self.error(f"flag needs an argument: {letter!r} in {word}")
            value = attached if word[position:] else queue.popleft()
            arranged.append(f"{action.option_strings[-1]}={value}")
            break
        return arranged


class _Deferred:
    """A CommandParser that is made when it is used: of all that a noun has, one is, and each takes its time."""

    def __init__(
        self, prog: str, usage: str | None = None, description: str | None = None, epilog: str | None = None
    ) -> None:
        self._options = prog, usage, description, epilog
        self._calls: list[tuple[str, tuple[str, ...], dict[str, object]]] = []
        self._made: CommandParser | None = None

    def add_argument(self, *names: str, **options: object) -> None:
        """Note it, or do it, when there is a parser already."""
        self._note("add_argument", names, options)

    def set_defaults(self, **options: object) -> None:
        """The same."""
        self._note("set_defaults", (), options)

    def _note(self, method: str, names: tuple[str, ...], options: dict[str, object]) -> None:
        if self._made is None:
            self._calls.append((method, names, options))
        else:
            getattr(self._made, method)(*names, **options)

    def __getattr__(self, name: str) -> object:
        if self._made is None:
            self._made = CommandParser(*self._options)
            for method, names, options in self._calls:
                getattr(self._made, method)(*names, **options)
        return getattr(self._made, name)


def add_commands(parser: CommandParser) -> "argparse._SubParsersAction[CommandParser]":
    """The place where the commands of a noun, or of the program, are added; one of them must be given."""
    deferred = cast("type[CommandParser]", _Deferred)
    return parser.add_subparsers(title="commands", metavar="COMMAND", dest=argparse.SUPPRESS, parser_class=deferred)


def examples(*lines: str) -> str:
    """The part of a help text that shows command lines which work when pasted."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def _unknown_command(word: str, prog: str, known: list[str]) -> str:
    return f"unknown command {word!r} for '{prog}'{_meant(word, known)}"


def _meant(word: str, known: list[str]) -> str:
    """A guess, to be appended."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=_CLOSE)
    return f", did you mean {close[0]!r}?" if close else ""


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, cast
else:

    def cast(_: str, value: object) -> object:
        """As typing.cast; typing takes 5 ms."""
        return value
