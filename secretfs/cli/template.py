"""``--format TEMPLATE``. Rule: docker's output and docker's error texts, for the part of Go's templates
that listings use.
"""

from collections.abc import Callable, Mapping, Sequence

from secretfs.cli import output
from secretfs.cli.listing import Row
from secretfs.cli.template_functions import FUNCTIONS, HEADER_FUNCTIONS, LAZY, LabelMap, printed, truth, type_of
from secretfs.cli.template_syntax import (
    Block,
    Command,
    Function,
    Jump,
    Literal,
    Node,
    Operand,
    Path,
    Pipe,
    Template,
    Text,
    parse,
)
from secretfs.errors import InvalidArgumentError
from secretfs.linux.terminal import one_line

_TABLE = "table"
_NAMES = frozenset((*FUNCTIONS, *LAZY))

Functions = Mapping[str, tuple[Callable[..., object], int, int | None]]


def parsed(form: str) -> Template:
    """The template. Raises: InvalidArgumentError, with Go's text."""
    return parse(form, _NAMES)


def rendered(template: Template, value: object) -> str:
    """What the template makes of a JSON value. Raises: InvalidArgumentError, with Go's text."""
    return _Run(template, _with_labels(value), FUNCTIONS).text()


def listed(form: str, rows: Sequence[Row], headers: Mapping[str, str]) -> str:
    """The lines of a listing; after ``table`` with a header, in columns at the tabs.

    Raises: InvalidArgumentError, with Go's text.
    """
    is_table = form.startswith(_TABLE)
    line = form.removeprefix(_TABLE) if is_table else form
    template = parsed(line.strip(" ").replace("\\t", "\t").replace("\\n", "\n"))
    lines = [_Run(template, _cell(row) if is_table else row, FUNCTIONS).text() for row in rows]
    if not is_table:
        return "".join(f"{line}\n" for line in lines)
    header = _Run(template, _Header(headers), HEADER_FUNCTIONS).text()
    return output.laid_out(cells.split("\t") for line in (header, *lines) for cells in line.split("\n"))


def _cell(row: Row) -> Row:
    """The row as a table shows it: a line end or tab in a value begins no row or column of its own."""
    fields, labels = ({key: one_line(value) for key, value in some.items()} for some in (row.fields, row.labels))
    return Row(row.type_name, fields, labels)


class _Header(Row):
    """The row of headers; the header of a label is its key."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__("map[string]interface {}", headers, {})


class _JumpError(Exception):
    """``break`` or ``continue`` on its way to the range it belongs to."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class _Run:
    """One rendering: the text so far, and the variables in sight."""

    def __init__(self, template: Template, value: object, functions: Functions) -> None:
        self._template = template
        self._functions = functions
        self._value = value
        self._variables: list[tuple[str, object]] = [("$", value)]
        self._out: list[str] = []

    def text(self) -> str:
        self._nodes(self._template.nodes, self._value)
        return "".join(self._out)

    def _error(self, at: int, source: str, message: str) -> InvalidArgumentError:
        place = self._template.position(at)
        return InvalidArgumentError(
            f'template parsing error: template: :{place}: executing "" at <{source}>: {message}'
        )

    # --- nodes

    def _nodes(self, nodes: Sequence[Node], dot: object) -> None:
        for node in nodes:
            match node:
                case Text():
                    self._out.append(node.text)
                case Jump():
                    raise _JumpError(node.word)
                case Pipe():
                    value = self._pipe(node, dot)
                    if not node.names:
                        self._out.append(printed(value))
                case Block():
                    self._block(node, dot)

    def _block(self, block: Block, dot: object) -> None:
        scope = len(self._variables)
        if block.word == "range":
            self._range(block, dot)
        else:
            value = self._pipe(block.pipe, dot)
            inner = value if block.word == "with" and truth(value) else dot
            self._nodes(block.body if truth(value) else block.otherwise, inner)
        del self._variables[scope:]

    def _range(self, block: Block, dot: object) -> None:
        pipe = Pipe(block.pipe.at, block.pipe.commands)
        pairs = self._pairs(pipe, self._pipe(pipe, dot))
        if not pairs:
            self._nodes(block.otherwise, dot)
        for key, item in pairs:
            scope = len(self._variables)
            names = block.pipe.names
            for name, value in zip(names, (key, item)[-len(names) :] if names else (), strict=True):
                self._declare(name, value, assigns=block.pipe.assigns)
            try:
                self._nodes(block.body, item)
            except _JumpError as jump:
                if jump.word == "break":
                    return
            finally:
                del self._variables[scope:]

    def _pairs(self, pipe: Pipe, value: object) -> list[tuple[object, object]]:
        match value:
            case None:
                return []
            case list():
                return list(enumerate(value))
            case Mapping():
                return [(key, value[key]) for key in sorted(value)]
        last = pipe.commands[-1]
        raise self._error(last.at, last.source, f"range can't iterate over {printed(value)}")

    def _declare(self, name: str, value: object, *, assigns: bool) -> None:
        if not assigns:
            self._variables.append((name, value))
            return
        at = max(at for at, (known, _) in enumerate(self._variables) if known == name)
        self._variables[at] = name, value

    # --- expressions

    def _pipe(self, pipe: Pipe, dot: object) -> object:
        final: tuple[object, ...] = ()
        for command in pipe.commands:
            final = (self._command(command, dot, final),)
        for name in pipe.names:
            self._declare(name, final[0], assigns=pipe.assigns)
        return final[0]

    def _command(self, command: Command, dot: object, final: tuple[object, ...]) -> object:
        first, rest = command.operands[0], command.operands[1:]
        if isinstance(first, Function):
            return self._call(command, first.source, dot, final)
        if isinstance(first, Path) and first.names and first.names[-1] == "Label":
            owner = self._path(Path(first.at, first.source, first.start, first.names[:-1]), dot)
            if isinstance(owner, Row) and "Labels" in owner.fields:
                return self._label(owner, first, [*(self._operand(operand, dot) for operand in rest), *final])
        if rest or final:
            raise self._error(first.at, first.source, self._not_callable(first, dot, len(rest) + len(final)))
        if isinstance(first, Literal) and first.value is None:
            raise self._error(first.at, first.source, "nil is not a command")
        return self._operand(first, dot)

    def _not_callable(self, first: Operand, dot: object, count: int) -> str:
        if isinstance(first, Path) and first.names:
            if isinstance(dot, Row):
                self._operand(first, dot)
                return f"wrong number of args for {first.names[-1]}: want 0 got {count}"
            return f"{first.names[-1]} is not a method but has arguments"
        return f"can't give argument to non-function {first.source}"

    def _label(self, row: Row, node: Path, arguments: list[object]) -> str:
        if len(arguments) != 1:
            raise self._error(node.at, node.source, f"wrong number of args for Label: want 1 got {len(arguments)}")
        key = arguments[0]
        if not isinstance(key, str):
            raise self._error(node.at, node.source, f"wrong type for value; expected string; got {type_of(key)}")
        return key if isinstance(row, _Header) else row.labels.get(key, "")

    def _call(self, command: Command, name: str, dot: object, final: tuple[object, ...]) -> object:
        operands = command.operands[1:]
        call, least, most = (None, 1, None) if name in LAZY else self._functions[name]
        count = len(operands) + len(final)
        if count < least or (most is not None and count > most):
            wanted = f"at least {least}" if most is None else str(least)
            raise self._error(command.at, name, f"wrong number of args for {name}: want {wanted} got {count}")
        if call is None:
            return self._decided(operands, dot, final, decisive=name == "or")
        arguments = [*(self._operand(operand, dot) for operand in operands), *final]
        try:
            return call(*arguments)
        except (TypeError, ValueError, OverflowError) as exc:
            raise self._error(command.at, command.source, f"error calling {name}: {exc}") from None

    def _decided(
        self, operands: tuple[Operand, ...], dot: object, final: tuple[object, ...], *, decisive: bool
    ) -> object:
        """``and`` and ``or``: the first argument that decides, else the last."""
        value: object = None
        for operand in operands:
            value = self._operand(operand, dot)
            if truth(value) is decisive:
                return value
        return final[0] if final else value

    def _operand(self, operand: Operand, dot: object) -> object:
        match operand:
            case Literal():
                return operand.value
            case Function():
                return self._call(Command(operand.at, operand.source, (operand,)), operand.source, dot, ())
            case Path():
                return self._path(operand, dot)

    def _path(self, path: Path, dot: object) -> object:
        if isinstance(path.start, Pipe):
            value = self._pipe(path.start, dot)
        elif path.start == ".":
            value = dot
        else:
            value = next(value for name, value in reversed(self._variables) if name == path.start)
        for name in path.names:
            value = self._field(path, value, name)
        return value

    def _field(self, path: Path, value: object, name: str) -> object:
        match value:
            case Row():
                return self._placeholder(path, value, name)
            case LabelMap():
                return value.get(name)
            case Mapping():
                if name in value:
                    return value[name]
                raise self._error(path.at, path.source, f'map has no entry for key "{name}"')
            case None:
                message = f"nil pointer evaluating interface {{}}.{name}"
                raise self._error(path.at, path.source, message)
        kind = type_of(value) if isinstance(self._value, Row) else "interface {}"
        message = f"can't evaluate field {name} in type {kind}"
        raise self._error(path.at, path.source, message)

    def _placeholder(self, path: Path, row: Row, name: str) -> object:
        if name in row.fields:
            return row.fields[name]
        if name == "Label" and "Labels" in row.fields:
            raise self._error(path.at, path.source, "wrong number of args for Label: want 1 got 0")
        message = f"can't evaluate field {name} in type {row.type_name}"
        raise self._error(path.at, path.source, message)


def _with_labels(value: object) -> object:
    """The value, its ``Labels`` being maps with any keys."""
    match value:
        case dict():
            return {
                key: LabelMap(item) if key == "Labels" and isinstance(item, dict) else _with_labels(item)
                for key, item in value.items()
            }
        case list():
            return [_with_labels(item) for item in value]
    return value
