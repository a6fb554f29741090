"""Grants: what shows where, as whose. Rule: a grant is checked when it is given, never when a task starts.

A ``GrantRequest`` is what somebody typed; a ``Grant`` is what it means on this host: the object is known,
owner and group are numbers, the target is one. Docker's texts: swarmkit manager/controlapi/service.go.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NewType

from secretfs.core.grant_syntax import DEFAULT_MODE, MAX_MODE, parse_fields
from secretfs.core.names import Kind, ObjectId, ObjectName
from secretfs.errors import InvalidGrantError

Target = NewType("Target", str)

MAX_TARGET_BYTES: Final = 1024  # the whole path: PATH_MAX is 4096, and a mount point comes before it
MAX_PART_BYTES: Final = 255  # NAME_MAX, limits.h
TARGET_DIRS: Final = {Kind.SECRET: "/run/secrets/", Kind.CONFIG: "/run/configs/"}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # C0, DEL, C1: an order to the terminal that lists the file


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
    """A value of ``--secret``, ``--config``, see ``grant_syntax.py``. Raises: InvalidGrantError."""
    given = parse_fields(text, kind.value)
    return GrantRequest(kind, given.source, given.target, given.uid, given.gid, given.mode, given.version)


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
