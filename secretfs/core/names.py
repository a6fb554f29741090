"""Names and ids. Rule: a name is parsed where it comes in, or refused; nothing is trimmed or repaired."""

import re
from enum import Enum
from typing import NewType

from secretfs.errors import InvalidNameError

ObjectName = NewType("ObjectName", str)
ServiceName = NewType("ServiceName", str)
ObjectId = NewType("ObjectId", str)
ServiceId = NewType("ServiceId", str)
TaskId = NewType("TaskId", str)
NetworkId = NewType("NetworkId", str)

ID_LENGTH = 25  # characters: 36**25 > 2**128 (swarmkit identity/randomid.go)
ID_RANDOM_BYTES = 16
MAX_SERVICE_NAME = 63  # characters (swarmkit manager/controlapi/common.go: a DNS label)

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_OBJECT_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?")
# The language of swarmkit's [a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*, which backtracks in exponential time.
_SERVICE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?")
_ID = re.compile(r"[0-9a-z]{25}")
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


class Kind(Enum):
    """What a named value is; the value of a member is Docker's word for it."""

    SECRET = "secret"  # noqa: S105 - a word, not a password
    CONFIG = "config"


def parse_object_name(kind: Kind, text: str) -> ObjectName:  # noqa: ARG001 - one rule for both kinds today
    """The name of a secret or config: 1 to 64 of ``a-z A-Z 0-9 - _ .``, alphanumeric at both ends.

    Raises: InvalidNameError, with swarmkit's text (manager/controlapi/secret.go).
    """
    if not text:
        raise InvalidNameError("name must be provided")
    if not _OBJECT_NAME.fullmatch(text):
        raise InvalidNameError(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, "
            "and the start and end character must be [a-zA-Z0-9]"
        )
    return ObjectName(text)


def parse_service_name(text: str) -> ServiceName:
    """The name of a service: a DNS label in which ``_`` is allowed, up to 63 characters.

    Raises: InvalidNameError, with swarmkit's text (manager/controlapi/common.go).
    """
    if not text:
        raise InvalidNameError("meta: name must be provided")
    if not _SERVICE_NAME.fullmatch(text):
        raise InvalidNameError("name must be valid as a DNS name component")
    if len(text) > MAX_SERVICE_NAME:
        raise InvalidNameError("name must be 63 characters or fewer")
    return ServiceName(text)


def is_id(text: str) -> bool:
    """Whether the text is a whole id: 25 characters of ``[0-9a-z]``."""
    return _ID.fullmatch(text) is not None


def id_from(random: bytes) -> str:
    """The id that 16 random bytes make: base 36, most significant digit first, padded with zeros to 25."""
    if len(random) != ID_RANDOM_BYTES:
        raise ValueError(f"an id is made of {ID_RANDOM_BYTES} bytes, not {len(random)}")
    return base36(int.from_bytes(random, "big"), ID_LENGTH)


def base36(number: int, length: int) -> str:
    """The number in base 36, most significant digit first, padded with zeros."""
    pairs = []
    for _ in range(length // 2 + 1):
        number, pair = divmod(number, 36 * 36)
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-length:]


def folded(name: str) -> str:
    """What "unique" and "found without regard to case" compare. ASCII only: no other letter is in a name."""
    return name.translate(_ASCII_LOWER)
