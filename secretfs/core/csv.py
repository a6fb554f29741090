"""One CSV record, as Go's encoding/csv reads it: the syntax of ``--secret``. Rule: refuse what Go refuses.

The standard library's reader takes a stray quote without a word, and a secret would be granted under another
name than was meant.
"""

from secretfs.errors import InvalidGrantError


def parse_record(text: str) -> list[str]:
    """The fields of the first record. Raises: InvalidGrantError, with Go's text; ``EOF`` for none."""
    start = len(text) - len(text.lstrip("\r\n"))
    at, fields = start, []
    if at == len(text):
        raise InvalidGrantError("EOF")
    while True:
        field, at = _quoted(text, at + 1) if text[at : at + 1] == '"' else _plain(text, at)
        fields.append(field)
        if text[at : at + 1] != ",":
            return fields
        at += 1


def _plain(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] not in ",\n":
        if text[end] == '"':
            raise _error(text, end, 'bare " in non-quoted field')
        end += 1
    line_end = end == len(text) or text[end] == "\n"
    return (text[at:end].removesuffix("\r") if line_end else text[at:end]), end


def _quoted(text: str, at: int) -> tuple[str, int]:
    parts = []
    while True:
        end = text.find('"', at)
        if end < 0:
            raise _error(text, len(text), 'extraneous or missing " in quoted-field')
        parts.append(text[at:end])
        at = end + 1
        if text[at : at + 1] != '"':
            break
        parts.append('"')
        at += 1
    if text[at : at + 1] not in ("", ",", "\n", "\r"):
        raise _error(text, end, 'extraneous or missing " in quoted-field')
    return "".join(parts), at


def _error(text: str, at: int, reason: str) -> InvalidGrantError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return InvalidGrantError(f"parse error on line {line}, column {column}: {reason}")
