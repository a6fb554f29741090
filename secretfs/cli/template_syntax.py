"""Go templates, parsed (text/template, as far as listings need it). Rule: what is not understood is refused
in Go's words.

Left out: define, template and block, complex numbers. A node keeps its offset in the source, which error
texts show.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from secretfs.cli.template_tokens import Token, constant, pieces, syntax_error
from secretfs.errors import InvalidArgumentError

MAX_DEPTH = 40  # of parentheses and blocks; each level takes a few Python frames

_BLOCKS = ("if", "with", "range")
_KEYWORDS = (*_BLOCKS, "else", "end", "break", "continue")
_CONSTANTS: dict[str, object] = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    at: int
    source: str
    value: object


@dataclass(frozen=True, slots=True)
class Path:
    """Fields of ``.``, of a variable, or of what parentheses yield; with no names that itself."""

    at: int
    source: str
    start: "str | Pipe"  # "." or a variable's name
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function's name."""

    at: int
    source: str


Operand = Literal | Path | Function


@dataclass(frozen=True, slots=True)
class Command:
    """An operand, or a call: what is called, then its arguments."""

    at: int
    source: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each given what the one before yields; then what is declared by it."""

    at: int
    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    assigns: bool = False  # "=", not ":="


@dataclass(frozen=True, slots=True)
class Text:
    """What stands outside of actions."""

    text: str


@dataclass(frozen=True, slots=True)
class Jump:
    """``break`` or ``continue``."""

    word: str


@dataclass(slots=True)
class Block:
    """``if``, ``with``, ``range``."""

    word: str
    pipe: Pipe
    body: "list[Node]" = field(default_factory=list)
    otherwise: "list[Node]" = field(default_factory=list)


Node = Text | Pipe | Jump | Block


@dataclass(frozen=True, slots=True)
class Template:
    """A whole template."""

    source: str
    nodes: list[Node]

    def position(self, at: int) -> str:
        """``line:column`` as Go counts them: lines from 1, columns in bytes from 0."""
        line = 1 + self.source.count("\n", 0, at)
        before = self.source[:at].rpartition("\n")[2]
        return f"{line}:{len(before.encode(errors='surrogateescape'))}"  # argv may hold any bytes


def parse(source: str, functions: Container[str]) -> Template:
    """The template; its functions must be among those named. Raises: InvalidArgumentError, with Go's text."""
    return Template(source, _Parser(source, functions).parsed())


class _Parser:
    """Recursive descent over the pieces; ``_tokens`` are what is left of the current action."""

    def __init__(self, source: str, functions: Container[str]) -> None:
        self._source = source
        self._functions = functions
        self._pieces = pieces(source)
        self._tokens: list[Token] = []
        self._variables = ["$"]
        self._at = 0  # of the last token taken
        self._end_of_last = 0
        self._depth = 0
        self._parens = 0
        self._ranges = 0

    def parsed(self) -> list[Node]:
        nodes, keyword = self._list()
        if keyword:
            raise self._error(f"unexpected {{{{{keyword}}}}}")
        return nodes

    def _error(self, message: str) -> InvalidArgumentError:
        return syntax_error(self._source, self._at, message)

    def _unexpected(self, token: Token, context: str) -> InvalidArgumentError:
        shown = f"<{token.text}>" if token.text in (*_KEYWORDS, ".") else f'"{token.text}"'
        return self._error(f"unexpected {shown} in {context}")

    def _taken(self) -> Token:
        token = self._tokens.pop(0)
        self._at, self._end_of_last = token.at, token.end
        return token

    def _finish(self, context: str) -> None:
        if self._tokens:
            raise self._unexpected(self._taken(), context)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep")

    # --- text and actions

    def _list(self) -> tuple[list[Node], str]:
        """Nodes up to ``else``, ``end`` or the end of the source, and which of them it was."""
        nodes: list[Node] = []
        scope = len(self._variables)
        keyword = ""
        for piece in self._pieces:
            if isinstance(piece, str):
                nodes.append(Text(piece))
                continue
            self._tokens = piece
            if piece[0].text in ("else", "end"):
                keyword = self._taken().text
                break
            nodes.append(self._action(piece[0]))
        del self._variables[scope:]
        return nodes, keyword

    def _action(self, first: Token) -> Node:
        if first.text in _BLOCKS:
            return self._block(self._taken().text)
        if first.text in ("break", "continue"):
            self._taken()
            if not self._ranges:
                raise self._error(f"{{{{{first.text}}}}} outside {{{{range}}}}")
            self._finish(first.text)
            return Jump(first.text)
        if first.text in ("define", "template", "block"):
            raise self._error(f"{{{{{first.text}}}}} is not supported")
        pipe = self._pipe("command")
        self._finish("command")
        return pipe

    def _block(self, word: str) -> Block:
        self._enter()
        scope = len(self._variables)
        pipe = self._pipe(word, most=2 if word == "range" else 1)
        self._finish(word)
        block = Block(word, pipe)
        self._ranges += word == "range"
        block.body, keyword = self._list()
        self._ranges -= word == "range"
        if keyword == "else":
            self._otherwise(block)
        else:
            self._end(keyword)
        del self._variables[scope:]
        self._depth -= 1
        return block

    def _otherwise(self, block: Block) -> None:
        if self._tokens and self._tokens[0].text == block.word != "range":
            self._taken()
            block.otherwise = [self._block(block.word)]  # it takes the one {{end}} of both
            return
        self._finish("else")
        block.otherwise, keyword = self._list()
        if keyword == "else":
            raise self._error("expected end; found {{else}}")
        self._end(keyword)

    def _end(self, keyword: str) -> None:
        if not keyword:
            raise self._error("unexpected EOF")
        self._finish("end")

    # --- expressions

    def _pipe(self, context: str, *, most: int = 1) -> Pipe:
        at = self._tokens[0].at if self._tokens else self._at
        names, assigns = self._declared(context, most)
        commands = [self._command(context)]
        while self._tokens and self._tokens[0].text == "|":
            self._taken()
            commands.append(self._command("command"))
            if isinstance(commands[-1].operands[0], Literal):
                raise self._error(f"non executable command in pipeline stage {len(commands)}")
        if not assigns:
            self._variables += names
        return Pipe(at, tuple(commands), names, assigns)

    def _declared(self, context: str, most: int) -> tuple[tuple[str, ...], bool]:
        """``$x :=``, ``$x =`` or, in a range, ``$i, $x :=`` at the front."""
        for count in range(1, most + 1):
            front = self._tokens[: 2 * count]
            names = tuple(token.text for token in front[::2] if token.kind == "variable")
            marks = [token.text for token in front[1::2]]
            if len(names) == count and marks in ([","] * (count - 1) + [":="], [","] * (count - 1) + ["="]):
                self._check_known(names if marks[-1] == "=" else ())
                del self._tokens[: 2 * count]
                return names, marks[-1] == "="
        if len(self._tokens) > 1 and self._tokens[0].kind == "variable" and self._tokens[1].text in (",", ":=", "="):
            raise self._error(f"too many declarations in {context}")
        return (), False

    def _check_known(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._variables:
                raise self._error(f'undefined variable "{name}"')

    def _command(self, context: str) -> Command:
        operands: list[Operand] = []
        at = self._tokens[0].at if self._tokens else self._at
        while self._tokens and self._tokens[0].text not in ("|", ")"):
            if operands and not self._tokens[0].spaced:
                raise self._unexpected(self._taken(), "operand")
            operands.append(self._operand())
        if not self._parens and self._tokens and self._tokens[0].text == ")":
            raise self._error("unexpected right paren")
        if not operands:
            raise self._error(f"missing value for {context}")
        return Command(at, self._source[at : self._end_of_last], tuple(operands))

    def _operand(self) -> Operand:
        token = self._taken()
        match token.kind:
            case "string" | "raw" | "char" | "number":
                return self._bare(Literal(token.at, token.text, constant(self._source, token)))
            case "word" if token.text in _CONSTANTS:
                return self._bare(Literal(token.at, token.text, _CONSTANTS[token.text]))
            case "word" if token.text not in _KEYWORDS:
                return self._function(token)
            case "dot" | "field":
                return self._path(token.at, token.end, ".", (token.text[1:],)[: len(token.text) - 1])
            case "variable":
                self._check_known([token.text])
                return self._path(token.at, token.end, token.text, ())
            case "mark" if token.text == "(":
                return self._parenthesized(token)
        raise self._unexpected(token, "operand")

    def _function(self, token: Token) -> Operand:
        if token.text not in self._functions:
            raise self._error(f'function "{token.text}" not defined')
        return self._bare(Function(token.at, token.text))

    def _parenthesized(self, opening: Token) -> Path:
        self._enter()
        self._parens += 1
        inner = self._pipe("parenthesized pipeline", most=0)
        if not self._tokens:
            self._at = opening.at
            raise self._error("unclosed left paren")
        closing = self._taken()
        self._parens -= 1
        self._depth -= 1
        return self._path(opening.at, closing.end, inner, ())

    def _path(self, begin: int, end: int, start: str | Pipe, names: tuple[str, ...]) -> Path:
        at = begin
        while self._tokens and self._tokens[0].kind == "field" and not self._tokens[0].spaced:
            token = self._taken()
            if at == begin:
                at = token.at  # as Go has it: the second part of a chain
            names, end = (*names, token.text[1:]), token.end
        return Path(at, self._source[begin:end], start, names)

    def _bare(self, operand: Operand) -> Operand:
        """A constant or a function: it has no fields."""
        if self._tokens and self._tokens[0].kind == "field" and not self._tokens[0].spaced:
            raise self._error(f"unexpected . after term {operand.source}")
        return operand
