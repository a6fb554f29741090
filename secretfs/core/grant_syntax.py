"""The syntax of ``--secret`` and ``--config``. Rule: nothing large is imported to read it, as a program that
is started with a secret waits for that; regular expressions only for what is rarely said.

Docker's texts: docker/cli opts/secret.go, opts/config.go.
"""

from secretfs.core.csv import parse_record
from secretfs.errors import InvalidGrantError

DEFAULT_MODE = 0o444
MAX_ID = 2**32 - 2  # (uid_t)-1 means "leave as it is" in chown(2), so no file can have it
MAX_MODE = 2**32 - 1  # strconv.ParseUint(value, 0, 32)

_OCTAL = r"0[oO]?([0-7]+)|0"
_NOT_OCTAL = r"0[xX][0-9a-fA-F]+|[1-9][0-9]{0,18}"
_KEYS = {name: name for name in ("source", "target", "uid", "gid", "mode", "version")} | {"src": "source"}


class Fields:
    """What a value says; uid and gid are numbers or names, the target is not yet checked."""

    __slots__ = ("gid", "mode", "source", "target", "uid", "version")

    def __init__(self, source: str, target: str, uid: str, gid: str, mode: int, version: int | None) -> None:
        self.source = source
        self.target = target
        self.uid = uid
        self.gid = gid
        self.mode = mode
        self.version = version  # None: the newest


def parse_fields(text: str, word: str) -> Fields:
    """A value of ``--secret``, ``--config`` (``word`` says which): ``NAME`` or
    ``source=NAME,target=…,uid=…,gid=…,mode=…,version=…``.

    One CSV record, keys without regard to case, the last of several counts. A mode is octal and says so.
    Raises: InvalidGrantError, with Docker's text where it has one.
    """
    fields = parse_record(text)
    if len(fields) == 1 and "=" not in fields[0]:
        given = {"source": fields[0]}
    else:
        given = dict(_pair(field, word) for field in fields)
    source = given.get("source", "")
    if not source:
        raise InvalidGrantError("source is required")
    return Fields(
        source,
        given.get("target") or source,
        parse_owner("uid", given.get("uid", "0")),
        parse_owner("gid", given.get("gid", "0")),
        parse_mode(given["mode"]) if "mode" in given else DEFAULT_MODE,
        _pin(given["version"]) if "version" in given else None,
    )


def _pair(field: str, word: str) -> tuple[str, str]:
    key, equals, value = field.partition("=")
    if not equals or not key:
        raise InvalidGrantError(f"invalid field '{field}' must be a key=value pair")
    name = _KEYS.get(key.lower())
    if name is None:
        raise InvalidGrantError(f"invalid field in {word} request: {key}")
    return name, value


def parse_owner(key: str, text: str) -> str:
    """The text, which may be the number or name of an owner; ``key`` is uid or gid. Raises: InvalidGrantError."""
    if not text:
        raise InvalidGrantError(f"invalid {key} specified: it is empty")
    if text.lstrip("+-").isdigit():
        parse_owner_number(text)
    return text


def parse_mode(text: str) -> int:
    """The mode that the text is: octal, and it says so. Raises: InvalidGrantError."""
    import re

    if match := re.fullmatch(_OCTAL, text):
        mode = int(match[1] or "0", 8)
        if mode > MAX_MODE:
            raise _mode_error(text, "value out of range")
        return mode
    if re.fullmatch(_NOT_OCTAL, text):
        raise InvalidGrantError(_meant(text))
    raise _mode_error(text, "invalid syntax")


def _mode_error(text: str, reason: str) -> InvalidGrantError:
    return InvalidGrantError(f'invalid mode specified: strconv.ParseUint: parsing "{text}": {reason}')


def _meant(text: str) -> str:
    """Say what a mode that is not octal would be to Docker, and how to write what was probably meant."""
    import re

    docker = f"docker reads it as 0{int(text, 0) & 0o7777:o}"
    if re.fullmatch(r"[0-7]{1,4}", text):
        return f"invalid mode specified: '{text}' has no leading 0: write 0{text} for octal ({docker})"
    return f"invalid mode specified: '{text}' is not octal: write it with a leading 0 ({docker})"


def _pin(text: str) -> int:
    import re

    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise InvalidGrantError(f"invalid version specified: '{text}' is not a version number")
    return int(text)


def parse_owner_number(text: str) -> int | None:
    """The uid or gid that the text is, or None for a name, which the host must resolve.

    Raises: InvalidGrantError, for a number that no file can have.
    """
    if not text.lstrip("+-").isdigit():
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10) or int(text) > MAX_ID:
        raise InvalidGrantError(f"invalid uid or gid specified: '{text}' is not in 0..{MAX_ID}")
    return int(text)
