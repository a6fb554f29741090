"""What Docker's clients put behind the ``?``: filters in two shapes, and the version of an update."""

from typing import Final

import msgspec

from secretfs.control.api.http import Request
from secretfs.control.usecases.filters import Filters
from secretfs.errors import BadRequestError

_BOOLEANS: Final = {  # strconv.ParseBool
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_MAX_VERSION = 2**64 - 1  # strconv.ParseUint(text, 10, 64)


def filters_of(request: Request) -> Filters:
    """``{"name":{"x":true}}`` of the docker CLI, ``{"name":["x"]}`` of docker-py. Raises: BadRequestError."""
    text = request.query.get("filters", "")
    if not text:
        return {}
    try:
        shape = msgspec.json.decode(text, type=dict[str, dict[str, bool] | list[str]])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadRequestError(f"invalid filter: {text[:200]!r} is not a map of lists or of sets") from None
    return {
        key: tuple(values)  # also {"x":false}, as by Docker
        for key, values in shape.items()
    }


def object_version(request: Request, word: str) -> int:
    """The version of a secret or config update. Raises: BadRequestError, with Docker's text."""
    version = _unsigned(request.query.get("version", ""))
    if version is None:
        raise BadRequestError(f"invalid {word} version")
    return version


def numbered_version(request: Request, word: str) -> int:
    """The version of a service, node or swarm update. Raises: BadRequestError, with Docker's text."""
    text = request.query.get("version", "")
    version = _unsigned(text)
    if version is None:
        raise BadRequestError(f"invalid {word} version '{text}': strconv.ParseUint: parsing \"{text}\": invalid syntax")
    return version


def swarm_rotations(request: Request) -> dict[str, bool]:
    """What a swarm update makes anew. Raises: BadRequestError, with Docker's text."""
    found = {}
    for word in ("rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"):
        text = request.query.get(word, "")
        if text and text not in _BOOLEANS:
            raise BadRequestError(f"invalid value for {word}: {text}")
        found[word] = _BOOLEANS.get(text, False)
    return found


def flag(request: Request, key: str) -> bool:
    """As Docker reads a boolean: anything but these words is true."""
    return request.query.get(key, "").strip().lower() not in ("", "0", "no", "false", "none")


def _unsigned(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(_MAX_VERSION)):
        return None
    number = int(text)
    return number if number <= _MAX_VERSION else None
