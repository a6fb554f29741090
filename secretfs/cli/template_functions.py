"""What a template can call, and how Go prints values. Rule: docker's functions (cli/templates) beside
text/template's own.

A value is what JSON has: a text, a number, true or false, nothing, a list, a map. A wrong argument is a
TypeError here, which the caller turns into Go's text with its place.
"""

import json
import re
from collections.abc import Callable, Mapping

from secretfs.cli.listing import Row

MAX_WIDTH = 1_000_000  # fmt/print.go, tooLarge

_VERB = re.compile(r"%([-+# 0]*[0-9]*(?:\.[0-9]+)?)(.?)", re.DOTALL)


class LabelMap(dict[str, object]):
    """A map with any keys: one that is missing is no error."""


def truth(value: object) -> bool:
    """What ``if`` makes of a value: Go's zero values and empty ones are false."""
    return bool(value)


def printed(value: object, *, nothing: str = "<no value>") -> str:
    """A value as ``{{.}}`` shows it."""
    match value:
        case None:
            return nothing
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case float():
            return _float(value)
        case Mapping():
            return f"map[{' '.join(f'{key}:{_inner(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(_inner(item) for item in value)}]"
        case Row():
            return _inner(dict(value.fields))
    return str(value)


def _inner(value: object) -> str:
    return printed(value, nothing="<nil>")


def _float(value: float) -> str:
    """The shortest text that is the same number; an exponent below 1e-4 and from 1e21 on (strconv, %v)."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def type_of(value: object) -> str:
    """What Go's error texts call the type."""
    match value:
        case Row():
            return value.type_name
        case str():
            return "string"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case list():
            return "[]interface {}"
        case Mapping():
            return "map[string]interface {}"
    return "<nil>"


def _json(value: object) -> str:
    plain = dict(sorted(value.fields.items())) if isinstance(value, Row) else value
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected string; found {type_of(value)}")
    return value


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected integer; found {type_of(value)}")
    return value


def _split(value: object, separator: object) -> list[str]:
    return _text(value).split(_text(separator)) if separator else list(_text(value))


def _join(value: object, separator: object) -> str:
    if not isinstance(value, list):
        raise TypeError(f"expected []string; found {type_of(value)}")
    return _text(separator).join(_text(item) for item in value)


def _title(value: object) -> str:
    return re.sub(r"(?<![^\W_]|_)[^\W\d_]", lambda found: found[0].upper(), _text(value))


def _pad(value: object, before: object, after: object) -> str:
    text, widths = _text(value), (_number(before), _number(after))
    if max(widths) > MAX_WIDTH:
        raise TypeError(f"wider than {MAX_WIDTH}")
    return " " * widths[0] + text + " " * widths[1] if text else text


def _truncate(value: object, length: object) -> str:
    return _text(value)[: max(_number(length), 0)]


def _len(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode(errors="surrogateescape"))
    if isinstance(value, list | Mapping):
        return len(value)
    raise TypeError(f"len of type {type_of(value)}" if value is not None else "len of nil pointer")


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(_text(key), "" if isinstance(value, LabelMap) else None)
        elif isinstance(value, list | str):
            items = list(value.encode(errors="surrogateescape")) if isinstance(value, str) else value
            if not 0 <= _number(key) < len(items):
                raise TypeError(f"index out of range: {key}")
            value = items[_number(key)]
        else:
            raise TypeError(f"can't index item of type {type_of(value)}")
    return value


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, str | list):
        raise TypeError(f"can't slice item of type {type_of(value)}")
    if len(bounds) > 2:
        raise TypeError(f"too many slice indexes: {len(bounds)}")
    begin, end = [*(_number(bound) for bound in bounds), *(0, len(value))[len(bounds) :]]
    if not 0 <= begin <= len(value) or not begin <= end <= len(value):
        raise TypeError(f"index out of range: {end if 0 <= begin <= len(value) else begin}")
    return value[begin:end]


def _equal(first: object, second: object) -> bool:
    if first is not None and second is not None and type(first) is not type(second):
        raise TypeError("incompatible types for comparison")
    if isinstance(first, list | Mapping | Row) and second is not None:
        raise TypeError("non-comparable type")
    return first == second


def _eq(first: object, *others: object) -> bool:
    if not others:
        raise TypeError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def _less(first: object, second: object) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return first < second
    if type(first) is type(second) and isinstance(first, int | float) and not isinstance(first, bool):
        assert isinstance(second, int | float)
        return first < second
    raise TypeError(
        "incompatible types for comparison" if type(first) is not type(second) else "invalid type for comparison"
    )


def _print(*values: object) -> str:
    """Blanks between two values of which none is a text (fmt.Sprint)."""
    text = ""
    for position, value in enumerate(values):
        apart = position and not isinstance(value, str) and not isinstance(values[position - 1], str)
        text += (" " if apart else "") + _inner(value)
    return text


def _printf(form: object, *values: object) -> str:
    left = list(values)

    def formatted(found: re.Match[str]) -> str:
        flags, verb = found[1], found[2]
        if verb == "%":
            return "%"
        if not verb:
            return "%!(NOVERB)"
        if not left:
            return f"%!{verb}(MISSING)"
        if any(int(width) > MAX_WIDTH for width in re.findall(r"[0-9]+", flags)):
            return f"%!(BADWIDTH){_inner(left.pop(0))}"
        return _verb(flags, verb, left.pop(0))

    text = _VERB.sub(formatted, _text(form))
    extra = ", ".join(f"{type_of(value)}={_inner(value)}" for value in left)
    return text + (f"%!(EXTRA {extra})" if extra else "")


def _verb(flags: str, verb: str, value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "v": True,
        "s": isinstance(value, str | list | Mapping | Row),
        "q": isinstance(value, str),
        "t": isinstance(value, bool),
        "d": number and isinstance(value, int),
        "x": isinstance(value, int | str) and not isinstance(value, bool),
        "f": isinstance(value, float),
    }
    if not fits.get(verb):
        return f"%!{verb}({type_of(value)}={_inner(value)})" if value is not None else f"%!{verb}(<nil>)"
    if verb == "f" or (number and verb in "dx"):
        return f"%{flags}{verb}" % value
    text = _inner(value)
    if verb == "q":
        text = json.dumps(text, ensure_ascii=False)
    elif verb == "x":
        text = text.encode(errors="surrogateescape").hex()
    return f"%{flags.replace('0', '', 1) if flags.startswith('0') else flags}s" % text


def _header(value: object, *_: object) -> object:
    """In the header of a table, a function leaves the header as it is."""
    return value


FUNCTIONS: Mapping[str, tuple[Callable[..., object], int, int | None]] = {
    # name: what it does, the least and the most arguments
    "json": (_json, 1, 1),
    "split": (_split, 2, 2),
    "join": (_join, 2, 2),
    "title": (_title, 1, 1),
    "lower": (lambda value: _text(value).lower(), 1, 1),
    "upper": (lambda value: _text(value).upper(), 1, 1),
    "pad": (_pad, 3, 3),
    "truncate": (_truncate, 2, 2),
    "len": (_len, 1, 1),
    "index": (_index, 1, None),
    "slice": (_slice, 1, None),
    "not": (lambda value: not truth(value), 1, 1),
    "eq": (_eq, 1, None),
    "ne": (lambda first, second: not _equal(first, second), 2, 2),
    "lt": (_less, 2, 2),
    "le": (lambda first, second: _less(first, second) or _equal(first, second), 2, 2),
    "gt": (lambda first, second: not (_less(first, second) or _equal(first, second)), 2, 2),
    "ge": (lambda first, second: not _less(first, second), 2, 2),
    "print": (_print, 0, None),
    "printf": (_printf, 1, None),
    "println": (lambda *values: " ".join(_inner(value) for value in values) + "\n", 0, None),
}
LAZY = ("and", "or")  # they stop at the argument that decides
HEADER_FUNCTIONS: Mapping[str, tuple[Callable[..., object], int, int | None]] = {
    **FUNCTIONS,
    **{name: (_header, *FUNCTIONS[name][1:]) for name in ("json", "split", "join", "title", "lower", "upper")},
    "truncate": (_header, 2, 2),
}
