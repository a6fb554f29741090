"""What control tells fs of the trees that there should be, and how fs asks for what is in them.

=======  ===================================================================================
to fs    TreeBegin, (TreeDrain) TreeEntry…, TreeEnd; Drop; SyncBegin, SyncEnd; Fill, NoFill
from fs  Need, Done
=======  ===================================================================================
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

NOT_NOW: Final = 1  # of NoFill; an older fs takes it for 0, that there is none


class Status(IntEnum):
    """How fs answers a change of a tree."""

    OK = 0
    ARENA_FULL = 1
    UNSEAL_FAILED = 2
    NO_VALUE = 3
    MALFORMED = 4
    WITHHELD = 85  # done, but for the versions that control answered with NoFill(NOT_NOW)


@dataclass(frozen=True, slots=True)
class TreeBegin:
    """The desired tree of ``task`` follows."""

    ask: int
    task: str


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of the tree begun; kind 0 secret, 1 config."""

    kind: int
    uid: int
    gid: int
    mode: int
    size: int
    version: int
    object_id: str
    target: str


@dataclass(frozen=True, slots=True)
class TreeDrain:
    """How long the next TreeEntry lets descriptors read on that are open on a version which it replaces. Not said
    where it is core/secret.py's DRAIN_MS, so that an older fs follows.
    """

    milliseconds: int


@dataclass(frozen=True, slots=True)
class TreeEnd:
    """The tree begun is complete: make it so, and answer Done."""

    ask: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Flush the tree of ``task`` and forget the task; answer Done."""

    ask: int
    task: str


@dataclass(frozen=True, slots=True)
class SyncBegin:
    """Every tree of the node follows."""


@dataclass(frozen=True, slots=True)
class SyncEnd:
    """Drop each task that was not named since SyncBegin; answer Done."""

    ask: int


@dataclass(frozen=True, slots=True)
class Need:
    """fs has no slot for this version: put it into the mailbox."""

    ask: int
    version: int
    object_id: str


@dataclass(frozen=True, slots=True)
class Fill:
    """The mailbox holds ``data key (32) || context || sealed value`` of the version that was needed."""

    ask: int
    context_size: int
    sealed_size: int


@dataclass(frozen=True, slots=True)
class NoFill:
    """control cannot give the version that was needed; ``ask`` says whether it may later.

    NOT_NOW: the store is locked. What is shown of that object stays, and the rest of the tree is as it should be.
    """

    ask: int


@dataclass(frozen=True, slots=True)
class Done:
    """Answer to TreeEnd, Drop and SyncEnd: a Status."""

    ask: int
    status: int


Frame: TypeAlias = (
    TreeBegin | TreeEntry | TreeDrain | TreeEnd | Drop | SyncBegin
    | SyncEnd | Need | Fill | NoFill | Done
)  # fmt: skip
