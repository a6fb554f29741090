"""The messages of the attach socket as JSON. Rule: with the half of ``json`` that is written in C alone.

The other half brings regular expressions, for errors and for blanks between, and with them 10 ms in which a program
that is started with a secret would wait.
"""

from _json import encode_basestring_ascii, make_scanner


class _Settings:
    """What the scanner asks for; as json.JSONDecoder() has it."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def encoded(value: object) -> bytes:
    """A message of ours, which holds no number with a fraction."""
    return _text(value).encode()


def decoded(packet: bytes) -> object:
    """What the daemon said. Raises: ValueError, RecursionError."""
    text = packet.decode()
    try:
        scan = make_scanner(_Settings)  # type: ignore[arg-type]  # typeshed: what it makes, not what it takes
        value, end = scan(text, 0)
    except (StopIteration, SystemError):  # without json.decoder it cannot say what is wrong
        return _by_json(text)
    return value if end == len(text) else _by_json(text)


def _by_json(text: str) -> object:
    import json

    return json.loads(text)


def _text(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return str(encode_basestring_ascii(value))
        case list() | tuple():
            return f"[{','.join(map(_text, value))}]"
        case dict():
            return f"{{{','.join(f'{_text(str(key))}:{_text(item)}' for key, item in value.items())}}}"
        case _:
            raise TypeError(f"a message holds no {type(value).__name__}")
