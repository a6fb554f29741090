"""Grants: what shows where, as whose. Rule: a grant is checked when it is given, never when a task starts.

A ``GrantRequest`` is what somebody typed; a ``Grant`` is what it means on this host: the object is known,
owner and group are numbers, the target is one. Docker's texts: docker/cli opts/secret.go, opts/config.go;
swarmkit manager/controlapi/service.go.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NewType

from secretfs.core.csv import parse_record
from secretfs.core.names import Kind, ObjectId, ObjectName
from secretfs.errors import InvalidGrantError

Target = NewType("Target", str)

DEFAULT_MODE: Final = 0o444
MAX_ID: Final = 2**32 - 2  # (uid_t)-1 means "leave as it is" in chown(2), so no file can have it
MAX_MODE: Final = 2**32 - 1  # strconv.ParseUint(value, 0, 32)
MAX_TARGET_BYTES: Final = 1024  # the whole path: PATH_MAX is 4096, and a mount point comes before it
MAX_PART_BYTES: Final = 255  # NAME_MAX, limits.h
TARGET_DIRS: Final = {Kind.SECRET: "/run/secrets/", Kind.CONFIG: "/run/configs/"}

_OCTAL = re.compile(r"0[oO]?([0-7]+)|0")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # C0, DEL, C1: an order to the terminal that lists the file
_NOT_OCTAL = re.compile(r"0[xX][0-9a-fA-F]+|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """A grant as it was typed; uid and gid are numbers or names, the target is not yet checked."""

    kind: Kind
    source: str
    target: str
    uid: str = "0"
    gid: str = "0"
    mode: int = DEFAULT_MODE
    version: int | None = None  # None: the newest


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as it holds; ``mode`` is what was asked for (Docker keeps all its bits and applies nine)."""

    kind: Kind
    object_id: ObjectId
    object_name: ObjectName
    target: Target
    uid: int = 0
    gid: int = 0
    mode: int = DEFAULT_MODE
    version: int | None = None  # None: the newest


def parse_grant(text: str, kind: Kind) -> GrantRequest:
    """A value of ``--secret``, ``--config``: ``NAME`` or
    ``source=NAME,target=…,uid=…,gid=…,mode=…,version=…``.

    One CSV record, keys without regard to case, the last of several counts. A mode is octal and says so.
    Raises: InvalidGrantError, with Docker's text where it has one.
    """
    fields = parse_record(text)
    if len(fields) == 1 and "=" not in fields[0]:
        given = {"source": fields[0]}
    else:
        given = dict(_pair(field, kind) for field in fields)
    source = given.get("source", "")
    if not source:
        raise InvalidGrantError("source is required")
    return GrantRequest(
        kind,
        source,
        given.get("target") or source,
        parse_owner("uid", given.get("uid", "0")),
        parse_owner("gid", given.get("gid", "0")),
        parse_mode(given["mode"]) if "mode" in given else DEFAULT_MODE,
        _pin(given["version"]) if "version" in given else None,
    )


_KEYS = {name: name for name in ("source", "target", "uid", "gid", "mode", "version")} | {"src": "source"}


def _pair(field: str, kind: Kind) -> tuple[str, str]:
    key, equals, value = field.partition("=")
    if not equals or not key:
        raise InvalidGrantError(f"invalid field '{field}' must be a key=value pair")
    name = _KEYS.get(key.lower())
    if name is None:
        raise InvalidGrantError(f"invalid field in {kind.value} request: {key}")
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
    if match := _OCTAL.fullmatch(text):
        mode = int(match[1] or "0", 8)
        if mode > MAX_MODE:
            raise _mode_error(text, "value out of range")
        return mode
    if _NOT_OCTAL.fullmatch(text):
        raise InvalidGrantError(_meant(text))
    raise _mode_error(text, "invalid syntax")


def _mode_error(text: str, reason: str) -> InvalidGrantError:
    return InvalidGrantError(f'invalid mode specified: strconv.ParseUint: parsing "{text}": {reason}')


def _meant(text: str) -> str:
    """Say what a mode that is not octal would be to Docker, and how to write what was probably meant."""
    docker = f"docker reads it as 0{int(text, 0) & 0o7777:o}"
    if re.fullmatch(r"[0-7]{1,4}", text):
        return f"invalid mode specified: '{text}' has no leading 0: write 0{text} for octal ({docker})"
    return f"invalid mode specified: '{text}' is not octal: write it with a leading 0 ({docker})"


def _pin(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise InvalidGrantError(f"invalid version specified: '{text}' is not a version number")
    return int(text)


def parse_owner_number(text: str) -> int | None:
    """The uid or gid that the text is, or None for a name, which the host must resolve.

    Raises: InvalidGrantError, for a number that no file can have.
    """
    if not text.lstrip("+-").isdigit():
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > MAX_ID:
        raise InvalidGrantError(f"invalid uid or gid specified: '{text}' is not in 0..{MAX_ID}")
    return int(text)


def check_mode(mode: int) -> int:
    """A mode that came as a number, through the API: taken as it is. Raises: InvalidGrantError."""
    if not 0 <= mode <= MAX_MODE:
        raise InvalidGrantError(f"invalid mode specified: {mode} is not in 0..{MAX_MODE}")
    return mode


def parse_target(text: str, kind: Kind = Kind.SECRET) -> Target:
    """A path below the task's mount; ``/run/secrets/x`` (``/run/configs/x`` of a config) means ``x``; any other
    absolute path stays one.

    Raises: InvalidGrantError, for an empty target or part, ``.``, ``..``, a control character, what
    is too long for Linux.
    """
    if not text:
        raise InvalidGrantError(f"malformed file {kind.value} reference, invalid target file name provided")
    for part in text.removeprefix("/").split("/"):
        _check_part(part, text)
    if len(text.encode()) > MAX_TARGET_BYTES:
        raise InvalidGrantError(f"invalid target: longer than {MAX_TARGET_BYTES} bytes")
    return Target(text.removeprefix(TARGET_DIRS[kind]))


def _check_part(part: str, text: str) -> None:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        raise InvalidGrantError(f"invalid target {text!r}: it is not UTF-8") from None
    if not part:
        raise InvalidGrantError(f"invalid target {text!r}: a part of the path is empty")
    if part in (".", ".."):
        raise InvalidGrantError(f"invalid target {text!r}: '{part}' is not allowed")
    if _CONTROL.search(part):
        raise InvalidGrantError(f"invalid target {text!r}: it has a control character")
    if size > MAX_PART_BYTES:
        raise InvalidGrantError(f"invalid target {text!r}: a part is longer than {MAX_PART_BYTES} bytes")


def attachable(target: str) -> bool:
    """Whether a tree can have this target; a service may keep others."""
    return not target.startswith("/")


def check_attachable(grants: Iterable[Grant]) -> None:
    """Refuse grants that a service may keep and no task can have. Raises: InvalidGrantError."""
    for grant in grants:
        if not attachable(grant.target):
            raise InvalidGrantError(
                f"{grant.kind.value} '{grant.object_name}' has the absolute target '{grant.target}': "
                f"a task can have targets below {TARGET_DIRS[grant.kind]} only"
            )


class TargetSet:
    """Targets of one directory of a tree, none of which is another or below another."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: dict[str, str] = {}  # directory: a file below it

    def add(self, target: str) -> str | None:
        """Take the target, or give the one that is there already and in conflict with it."""
        parents = [target[:at] for at, char in enumerate(target) if char == "/" and at]
        conflict = next((path for path in (target, *parents) if path in self._files), None)
        conflict = conflict or self._directories.get(target)
        if conflict is None:
            self._files.add(target)
            self._directories.update(dict.fromkeys(parents, target))
        return conflict


def check_conflicts(grants: Iterable[Grant]) -> None:
    """Refuse two grants of one kind at the same target, with Docker's text, and a target below another.

    Raises: InvalidGrantError.
    """
    taken = {kind: TargetSet() for kind in Kind}
    names: dict[tuple[Kind, str], ObjectName] = {}
    for grant in grants:
        conflict = taken[grant.kind].add(grant.target)
        if conflict is not None:
            first = names[grant.kind, conflict]
            raise InvalidGrantError(_conflict(grant, first, conflict))
        names[grant.kind, grant.target] = grant.object_name


def _conflict(grant: Grant, first: ObjectName, target: str) -> str:
    text = f"{grant.kind.value} references '{first}' and '{grant.object_name}' have a conflicting target: "
    if target == grant.target:
        return f"{text}'{target}'"
    upper, lower = sorted((target, grant.target), key=len)
    return f"{text}'{lower}' is below '{upper}'"


def check_duplicates(requests: Iterable[GrantRequest]) -> None:
    """Refuse one target twice in one command, with the docker CLI's text. Raises: InvalidGrantError."""
    seen: set[tuple[Kind, str]] = set()
    for request in requests:
        key = request.kind, request.target
        if key in seen:
            raise InvalidGrantError(f"duplicate {request.kind.value} target for {request.source} not allowed")
        seen.add(key)
