"""Variables in values: ``$NAME``, ``${NAME}`` and ``${NAME-word}`` and its like. Rule: the Compose Specification's
(12-interpolation.md), where docker's own is another: a word may have variables, and ``$NAME`` ends with the name.

=================  =====================================
``${NAME-word}``   the word if NAME is not set
``${NAME:-word}``  the word if it is not set or empty
``${NAME+word}``   the word if it is set, else nothing
``${NAME:+word}``  the word if it is set and not empty
``${NAME?word}``   refused, with the word, if it is not set
``${NAME:?word}``  refused if it is not set or empty
``$$``             a dollar
=================  =====================================

A word is looked at only when it is needed. Keys of maps have no variables.
"""

import re
from collections.abc import Mapping
from typing import Final

from secretfs.core.compose.tree import List, Map, Node, Scalar
from secretfs.errors import ComposeError

MAX_NESTING: Final = 32  # of words in words
MAX_CHARACTERS: Final = 4 * 1024 * 1024  # of all values together, afterwards

_INVALID: Final = (
    "invalid interpolation format: a $ that begins no variable is written $$"  # the value may be a password
)
_DOLLAR: Final = re.compile(r"\$")
_IN_WORD: Final = re.compile(r"[$}]")
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")  # os.environ's way to have bytes that are not UTF-8
_OPERATOR: Final = re.compile(r":?[-+?]")


class Interpolation:
    """The variables, and which of those that were asked for are not set."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._left = MAX_CHARACTERS
        self._done: dict[int, tuple[Node, Node]] = {}  # what several aliases share is looked at once
        self.unset: dict[str, None] = {}

    def tree(self, node: Map) -> Map:
        """The tree with its variables replaced. Raises: ComposeError."""
        return Map(node.place, {key: self._node(item) for key, item in node.items.items()}, node.keys)

    def _node(self, node: Node) -> Node:
        if id(node) not in self._done:
            self._done[id(node)] = self._replaced(node), node
        return self._done[id(node)][0]

    def _replaced(self, node: Node) -> Node:
        match node:
            case Map():
                return self.tree(node)
            case List():
                return List(node.place, tuple(map(self._node, node.items)))
        if "$" not in node.text:
            return node
        try:
            text = self.text(node.text)
        except ComposeError as exc:
            raise ComposeError(f"{node.place}: {exc}") from None
        return node if text == node.text else Scalar(node.place, text, plain=False)

    def text(self, text: str) -> str:
        """The text with its variables replaced. Raises: ComposeError, without a place."""
        out, end = self._until(text, 0, wanted=True, nesting=0)
        assert end == len(text)
        return out

    def _until(self, text: str, at: int, *, wanted: bool, nesting: int) -> tuple[str, int]:
        """From at to the end, or in a word to the brace that closes it; what is not wanted is only passed over."""
        if nesting > MAX_NESTING:
            raise ComposeError(f"variables are nested deeper than {MAX_NESTING}")
        parts: list[str] = []
        while at < len(text):
            stop = _stop(text, at, in_word=nesting > 0)
            if wanted:
                self._append(parts, text[at:stop])
            if stop == len(text) or text[stop] == "}":
                return "".join(parts), stop
            value, at = self._variable(text, stop, wanted=wanted, nesting=nesting)
            if wanted:
                self._append(parts, value)
        return "".join(parts), at

    def _append(self, parts: list[str], text: str) -> None:
        self._left -= len(text)
        if self._left < 0:
            raise ComposeError("the values are too large, with their variables replaced")
        parts.append(text)

    def _variable(self, text: str, at: int, *, wanted: bool, nesting: int) -> tuple[str, int]:
        """What stands for the dollar at ``at``, and where the text goes on."""
        if text.startswith("$$", at):
            return "$", at + 2
        braced = text.startswith("{", at + 1)
        name = _NAME.match(text, at + 1 + braced)
        if name is None:
            raise ComposeError(_INVALID)
        if not braced:
            return self._value(name[0], wanted=wanted), name.end()
        operator = _OPERATOR.match(text, name.end())
        if operator:
            value, end = self._worded(text, name[0], operator, wanted=wanted, nesting=nesting)
        else:
            value, end = self._value(name[0], wanted=wanted), name.end()
        if not text.startswith("}", end):
            raise ComposeError(_INVALID)
        return value, end + 1

    def _value(self, name: str, *, wanted: bool) -> str:
        value = self._known(name)
        if wanted and value is None:
            self.unset[name] = None
        return value or ""

    def _known(self, name: str) -> str | None:
        """Its value. Raises: ComposeError, for bytes that no text has: an environment may have them."""
        value = self._variables.get(name)
        if value is not None and not value.isascii() and _SURROGATE.search(value):
            raise ComposeError(f"variable {name} is not UTF-8")
        return value

    def _worded(self, text: str, name: str, operator: re.Match[str], *, wanted: bool, nesting: int) -> tuple[str, int]:
        value = self._known(name)
        there = bool(value) if operator[0].startswith(":") else value is not None
        kind = operator[0][-1]
        needed = wanted and there == (kind == "+")
        word, end = self._until(text, operator.end(), wanted=needed, nesting=nesting + 1)
        if kind == "?" and needed:
            raise ComposeError(f"required variable {name} is missing a value: {word}")
        return (word if needed or kind == "+" else value or ""), end


def _stop(text: str, at: int, *, in_word: bool) -> int:
    """Where the next variable begins, or the word ends; else the end of the text."""
    found = (_IN_WORD if in_word else _DOLLAR).search(text, at)
    return found.start() if found else len(text)
