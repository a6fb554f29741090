"""``secretfs completion``, and what the shells ask when Tab is pressed. Rule: what there is, the parsers say; a script
only asks and shows.

``secretfs __complete SHELL WORD...`` prints what the last word can become, a line each: ``value<TAB>description``, or
the value alone; or, as the only line, what the shell itself knows best: ``:files``, ``:directories``, ``:commands``. It
never fails: who presses Tab has asked for no message. An operand and a flag's value are told by their metavar.
"""

import argparse
from argparse import Namespace, _SubParsersAction
from collections.abc import Callable, Iterable, Iterator, Sequence

from secretfs.cli import answers, output
from secretfs.cli.client import Client
from secretfs.cli.host import host_of
from secretfs.cli.parser import CommandParser, examples
from secretfs.errors import SecretfsError

ANSWER_SECONDS = 2.0  # a daemon that is slower than that completes nothing
_BREAKS = frozenset("=:")  # where bash takes a word apart, see COMP_WORDBREAKS in bash(1)
_SHELL_KNOWS = {"FILE|-": ":files", "DIR": ":directories", "PATH": ":directories"}
_FIXED = {
    "FORMAT": ("json",),
    "ACT": ("signal:", "exec:"),
    "SOURCE": ("file:", "credential:", "exec:"),
    "true|false": ("true", "false"),
}
_LISTED = {"SECRET": "/secrets", "CONFIG": "/configs", "SERVICE": "/services"}

Candidate = tuple[str, str]  # value, description


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``completion``."""
    parser = commands.add_parser(
        "completion",
        help="print what makes a shell complete secretfs",
        description="Print a script that makes a shell complete commands, flags and the names of what there is.\n"
        "Read it at the start of the shell:\n"
        "  bash  in ~/.bashrc:                   source <(secretfs completion bash)\n"
        "  zsh   in ~/.zshrc, after compinit:    source <(secretfs completion zsh)\n"
        "  fish  in ~/.config/fish/config.fish:  secretfs completion fish | source",
        epilog=examples(
            "secretfs completion bash >/etc/bash_completion.d/secretfs",
            "secretfs completion zsh >/usr/local/share/zsh/site-functions/_secretfs",
            "secretfs completion fish >/etc/fish/completions/secretfs.fish",
        ),
    )
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    parser.set_defaults(handler=completion)


def completion(arguments: Namespace) -> int:
    """Print the script."""
    from secretfs.cli.completion_scripts import SCRIPTS

    output.template(SCRIPTS[arguments.shell])
    return 0


def answer(parser: CommandParser, asked: Sequence[str]) -> int:
    """Print what the last word can become. Asked are the shell, and the words after ``secretfs``."""
    shell, *words = asked or [""]
    raw = words[-1] if words else ""
    whole = _glued(words) if shell == "bash" else list(words) or [""]
    kept = 0 if _BREAKS.issuperset(raw) else len(raw)
    cut = len(whole[-1]) - kept if shell == "bash" else 0
    for value, description in candidates(parser, whole):
        shown = value if value.startswith(":") else value[cut:]
        output.template(f"{shown}\t{description}\n" if description else f"{shown}\n")
    return 0


def _glued(words: Sequence[str]) -> list[str]:
    """The words as they were typed: bash has taken ``--format=json`` into three."""
    whole: list[str] = []
    joining = False
    for word in words:
        breaks = bool(word) and _BREAKS.issuperset(word)
        if whole and (breaks or joining):
            whole[-1] += word
        else:
            whole.append(word)
        joining = breaks
    return whole or [""]


class _Place:
    """Where the words before the last one have led: to a command, its operands, maybe a flag without its value."""

    def __init__(self, parser: CommandParser, words: Iterable[str]) -> None:
        self.parser: CommandParser | None = parser
        self.operands: list[str] = []
        self.used: set[str] = set()
        self.waiting: argparse.Action | None = None
        self.flags_end = False
        self.host: str | None = None
        for word in words:
            self._pass(word)

    def _pass(self, word: str) -> None:
        if self.waiting is not None:
            self._value(self.waiting, word)
            self.waiting = None
        elif word == "--" and not self.flags_end:
            self.flags_end = True
        elif word.startswith("-") and word != "-" and not self.flags_end:
            self._flag(word)
        else:
            self._operand(word)

    def _flag(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        action = self.action(flag if word.startswith("--") else f"-{word[-1]}")
        if action is None:
            return
        self.used.add(action.dest)
        if equals:
            self._value(action, value)
        elif action.nargs != 0:
            self.waiting = action

    def _value(self, action: argparse.Action, value: str) -> None:
        if action.dest == "host":
            self.host = value

    def _operand(self, word: str) -> None:
        commands = self.commands
        if commands is not None:
            self.parser = commands.choices.get(word)
            return
        self.operands.append(word)
        self.flags_end = self.flags_end or any(action.nargs == argparse.REMAINDER for action in self.positions)

    def action(self, flag: str) -> argparse.Action | None:
        """The definition of a flag."""
        return next((action for action in self.actions if flag in action.option_strings), None)

    @property
    def actions(self) -> list[argparse.Action]:
        """All that the command takes."""
        return [] if self.parser is None else self.parser._actions

    @property
    def positions(self) -> list[argparse.Action]:
        """Its operands."""
        return [action for action in self.actions if not action.option_strings]

    @property
    def commands(self) -> "argparse._SubParsersAction[CommandParser] | None":
        """Its commands, when it has some."""
        return next((action for action in self.actions if isinstance(action, argparse._SubParsersAction)), None)


def candidates(parser: CommandParser, words: Sequence[str]) -> Iterator[Candidate]:
    """What the last of the words can become, with a description; the first alone may be what the shell knows."""
    place, word = _Place(parser, words[:-1]), words[-1]
    flag, equals, value = word.partition("=")
    if place.waiting is not None:
        found = _values(place, place.waiting, word)
    elif word.startswith("--") and equals and not place.flags_end:
        action = place.action(flag)
        found = [] if action is None else _values(place, action, value)
        found = ((f"{flag}={each}", text) if not each.startswith(":") else (each, "") for each, text in found)
    elif word.startswith("-") and not place.flags_end:
        found = _flags(place)
    elif place.commands is not None:
        found = ((action.dest, action.help or "") for action in place.commands._get_subactions())
    else:
        found = _operands(place, word)
    return (each for each in found if each[0].startswith(word) or each[0].startswith(":"))


def _flags(place: _Place) -> Iterator[Candidate]:
    for action in place.actions:
        again = isinstance(action, argparse._AppendAction)
        if action.option_strings and (again or action.dest not in place.used):
            yield action.option_strings[-1], action.help or ""


def _operands(place: _Place, word: str) -> Iterable[Candidate]:
    positions = place.positions
    at = len(place.operands)
    if at < len(positions):
        return _values(place, positions[at], word)
    if not positions or positions[-1].nargs not in ("+", "*", argparse.REMAINDER):
        return []
    if positions[-1].nargs == argparse.REMAINDER:
        return [(":files", "")]
    return (each for each in _values(place, positions[-1], word) if each[0] not in place.operands)


def _values(place: _Place, action: argparse.Action, word: str) -> Iterable[Candidate]:
    """What the value of a flag, or an operand, can be."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if action.choices is not None:
        return [(str(choice), "") for choice in action.choices]
    if action.nargs == argparse.REMAINDER:
        return [(":commands", "")]
    if metavar in _SHELL_KNOWS:
        return [(_SHELL_KNOWS[metavar], "")]
    if metavar in _FIXED:
        return [(each, "") for each in _FIXED[metavar]]
    if metavar.startswith(("USER", "GROUP")):
        return _of_host(metavar)
    key, equals, _ = word.rpartition("=") if action.option_strings else ("", "", "")
    return ((f"{key}{equals}{name}", text) for name, text in _named(place, metavar) if key in ("", "source", "src"))


def _of_host(metavar: str) -> Iterator[Candidate]:
    import grp
    import pwd

    if metavar == "GROUP":
        return ((entry.gr_name, f"gid {entry.gr_gid}") for entry in grp.getgrall())
    return ((entry.pw_name, f"uid {entry.pw_uid}") for entry in pwd.getpwall())


def _named(place: _Place, metavar: str) -> Iterable[Candidate]:
    """What the daemon has of a kind; nothing when it does not answer."""
    asked: Callable[[Client], list[Candidate]]
    if metavar == "TASK":
        asked = _tasks
    elif metavar == "STACK":
        asked = _stacks
    elif metavar in _LISTED:
        asked = lambda client: _names(client, _LISTED[metavar])  # noqa: E731 - a def would be no shorter
    else:
        return []
    try:
        return asked(Client(place.host or host_of(Namespace()), silence_seconds=ANSWER_SECONDS))
    except SecretfsError:
        return []


def _names(client: Client, path: str) -> list[Candidate]:
    found = client.get(path, {"data": "false"})
    return sorted((answers.text(item, "Spec", "Name"), "") for item in answers.items(found))


def _stacks(client: Client) -> list[Candidate]:
    from secretfs.cli.stack_lists import counted

    return [(name, f"{count} services") for name, count in counted(client).items()]


def _tasks(client: Client) -> list[Candidate]:
    found = answers.items(client.get("/secretfs/v1/tasks"))
    return [
        (
            answers.text(task, "ID"),
            f"{answers.text(task, 'Service') or 'no service'}, pid {answers.number(task, 'PID')}",
        )
        for task in found
    ]
