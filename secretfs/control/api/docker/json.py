"""JSON as Go's encoding/json reads it: keys without regard to case, the last of several counts, unknown ones
ignored, null is absent.

A wrong type is refused with Go's text. No text of a refusal holds a value.
"""

from collections.abc import Mapping
from typing import Final, TypeGuard

import msgspec

from secretfs.control.api.http import Request
from secretfs.errors import BadRequestError

MAX_DEPTH: Final = 64  # of nested arrays and objects: a real spec has 8; Go's own limit is 10,000
_JSON_TYPE = "application/json"
_WORDS: Final = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
_INVALID = "invalid JSON: "

Json = Mapping[str, object]


def raw_fields(request: Request) -> dict[str, msgspec.Raw]:
    """The fields of the body's object by lower-case key, still as bytes of the body. Raises:
    BadRequestError.
    """
    check_content_type(request)
    if not request.body:
        raise BadRequestError(f"{_INVALID}got EOF while reading request body")
    try:
        fields = msgspec.json.decode(request.body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequestError(f"{_INVALID}{_reason(exc)}") from None
    return {key.lower(): value for key, value in fields.items()}


def decoded(raw: msgspec.Raw) -> object:
    """A field as plain Python. Raises: BadRequestError."""
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequestError(f"{_INVALID}{_reason(exc)}") from None
    _check_depth(value)
    return value


def check_content_type(request: Request) -> None:
    """Refuse a body that does not say it is JSON. Raises: BadRequestError, with Docker's text."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() == _JSON_TYPE or not (content_type or request.body):
        return
    text = f"unsupported Content-Type header ({content_type}): must be '{_JSON_TYPE}'"
    raise BadRequestError(
        text if content_type else f"malformed Content-Type header ({content_type}): mime: no media type"
    )


def canonical(value: object, names: tuple[str, ...], where: str) -> dict[str, object]:
    """The object with these keys spelled like this; others are left as they are. None: no fields.

    Raises: BadRequestError, for what is no object.
    """
    if value is None:
        return {}
    if not _is_object(value):
        raise mismatch(value, where, "object")
    spelling = {name.lower(): name for name in names}
    return {spelling.get(key.lower(), key): field for key, field in value.items()}


def text_of(fields: Json, key: str, where: str) -> str:
    """A string, empty when absent. Raises: BadRequestError."""
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise mismatch(value, f"{where}.{key}", "string")
    return value


def labels_of(fields: Json, key: str, where: str) -> dict[str, str]:
    """A map of strings, empty when absent. Raises: BadRequestError."""
    value = fields.get(key)
    if value is None:
        return {}
    if not _is_object(value):
        raise mismatch(value, f"{where}.{key}", "map[string]string")
    for label in value.values():
        if not isinstance(label, str):
            raise mismatch(label, f"{where}.{key}", "string")
    return {name: str(label) for name, label in value.items()}


def list_of(fields: Json, key: str, where: str, of: str) -> list[object]:
    """A list, empty when absent. Raises: BadRequestError."""
    value = fields.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise mismatch(value, f"{where}.{key}", of)
    return value


def number_of(fields: Json, key: str, where: str, of: str, maximum: int) -> int:
    """A whole number from 0 to maximum, 0 when absent. Raises: BadRequestError."""
    value = fields.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise mismatch(value, f"{where}.{key}", of)
    if not isinstance(value, int) or not 0 <= value <= maximum:
        raise BadRequestError(
            f"{_INVALID}json: cannot unmarshal number {value} into Go struct field {where}.{key} of type {of}"
        )
    return value


def mismatch(value: object, where: str, wanted: str) -> BadRequestError:
    """Go's text for a value of the wrong type."""
    word = _WORDS.get(type(value), "null")
    return BadRequestError(f"{_INVALID}json: cannot unmarshal {word} into Go struct field {where} of type {wanted}")


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _reason(exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "exceeded max depth"
    return "invalid UTF-8" if isinstance(exc, UnicodeDecodeError) else str(exc)


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise BadRequestError(f"{_INVALID}exceeded max depth")


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
