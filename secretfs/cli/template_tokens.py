"""Go templates, cut into pieces. Rule: text goes through as it is, an action becomes tokens, a comment
nothing.

text/template/parse/lex.go: ``{{-`` and ``-}}`` take the blanks beside them along.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from secretfs.errors import InvalidArgumentError

_BLANKS = " \t\r\n"
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)|(?P<raw>`[^`]*`)|(?P<string>\"(?:\\.|[^\"\\\n])*\")|(?P<char>'(?:\\.|[^'\\\n])+')"
    r"|(?P<number>[+-]?\.?[0-9][0-9a-zA-Z_.]*)|(?P<mark>:=|[=|(),])|(?P<field>\.[^\W\d]\w*)|(?P<dot>\.)"
    r"|(?P<variable>\$\w*)|(?P<word>[^\W\d]\w*)"
)
_OPEN_TRIM = re.compile(r"-[ \t\r\n]")
_CLOSE = re.compile(r"(?P<trim>[ \t\r\n]+-)?\}\}")
_COMMENT = re.compile(r"/\*(?P<rest>.*?\*/(?P<trim>[ \t\r\n]+-)?\}\})?", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_UNTERMINATED = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
}


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an action."""

    kind: str
    text: str
    at: int
    spaced: bool  # there is a blank before it

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.at + len(self.text)


def syntax_error(source: str, at: int, message: str) -> InvalidArgumentError:
    """What says that the source is no template, with Go's text."""
    line = 1 + source.count("\n", 0, at)
    return InvalidArgumentError(f"template parsing error: template: :{line}: {message}")


def pieces(source: str) -> Iterator[str | list[Token]]:
    """Texts and actions in order. Raises: InvalidArgumentError, when it comes to what is neither."""
    at, trims = 0, False
    while at < len(source):
        begin = source.find("{{", at)
        text = source[at:] if begin < 0 else source[at:begin]
        if trims:
            text = text.lstrip(_BLANKS)
        if begin < 0:
            yield text
            return
        at = begin + 2
        if _OPEN_TRIM.match(source, at):
            text, at = text.rstrip(_BLANKS), at + 2
        yield text
        comment = _COMMENT.match(source, at)
        if comment:
            if comment["rest"] is None:
                raise syntax_error(source, at, "unclosed comment")
            at, trims = comment.end(), bool(comment["trim"])
        else:
            tokens, at, trims = _action(source, at)
            yield tokens


def constant(source: str, token: Token) -> object:
    """What a literal means. Raises: InvalidArgumentError."""
    match token.kind:
        case "raw":
            return token.text[1:-1]
        case "string":
            return _unquoted(source, token)
        case "char":
            return ord(_unquoted(source, token)[:1] or "\0")
    text = token.text.replace("_", "")
    based = text.lstrip("+-")[:2].lower() in ("0x", "0b", "0o")
    try:
        return float(text) if not based and re.search(r"[.eE]", text) else _integer(text)
    except ValueError:
        raise syntax_error(source, token.at, f'bad number syntax: "{token.text}"') from None


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if digits.isdigit() and digits.startswith("0"):
        return int(text, 8)  # Go: 010 is 8
    return int(text, 0)


def _action(source: str, begin: int) -> tuple[list[Token], int, bool]:
    """The tokens up to ``}}``, the offset after it, and whether it trims."""
    tokens: list[Token] = []
    at, spaced = begin, False
    while not (close := _CLOSE.match(source, at)):
        found = _TOKEN.match(source, at)
        if found is None:
            raise syntax_error(source, at, _unknown(source[at : at + 1]))
        if found.lastgroup != "space":
            tokens.append(Token(str(found.lastgroup), found[0], at, spaced))
        at, spaced = found.end(), found.lastgroup == "space"
    if not tokens:
        raise syntax_error(source, begin, "missing value for command")
    return tokens, close.end(), bool(close["trim"])


def _unknown(char: str) -> str:
    if not char:
        return "unclosed action"
    return _UNTERMINATED.get(char, f"unrecognized character in action: U+{ord(char):04X} '{char}'")


def _unquoted(source: str, token: Token) -> str:
    def replaced(escape: re.Match[str]) -> str:
        hexadecimal = escape[1] or escape[2] or escape[3]
        if hexadecimal or escape[4]:
            code = int(hexadecimal, 16) if hexadecimal else int(escape[4], 8)
            if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
                return chr(code)
        elif escape[5] in _LETTERS:
            return _LETTERS[escape[5]]
        elif escape[5] in ("\\", token.text[0]):
            return escape[5]
        raise syntax_error(source, token.at, "invalid syntax")

    return _ESCAPE.sub(replaced, token.text[1:-1])
