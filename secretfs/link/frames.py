"""Every frame that one process of secretfs sends to another, and its bytes.

A packet is ``code (1 byte) || fixed fields (little endian) || the last field's bytes, where the frame ends in one``.
IDs travel as 25 ASCII bytes. The table ``_LAYOUTS`` is the whole format: nothing else packs or parses.

===================  =====================================================================================
supervisor → fs      Ping, Wire (+ socket, mailbox), Grown, Stop; to a standby: Go (+ pidfd of the one before, or none)
fs → supervisor      Pong, Ready, Grow, Loaded
fs → next supervisor Handover (+ socket, device, arena, listeners of API, attach and handover, ring of opens, eventfd)
supervisor → control Ping, Identity, Wire (+ socket, mailbox), TreeFd (+ fd), Namespaces, Members (+ pidfds), Repaired,
                     MountsDropped, Acted, Stop
control → supervisor Pong, Ready, Stopped, AskTreeFd, AskNamespaces (+ pidfd), AskMembers, AskRepair,
                     AskDropMounts, AskSignal (+ pidfd), AskCommand (+ pidfd), AskTouch
control → fs         TreeBegin, (TreeDrain) TreeEntry…, TreeEnd, Drop, SyncBegin, SyncEnd, Fill, NoFill
fs → control         Need, Done
===================  =====================================================================================
"""

import struct
from collections.abc import Callable
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias, TypeVar

from secretfs.errors import LinkError

MAX_FRAME_BYTES: Final = 8192  # a TreeEntry with the longest target (PATH_MAX 4096) fits
MAX_FDS: Final = 200  # below SCM_MAX_FD, 253 (linux/net/scm.h)
ID_BYTES: Final = 25


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
class Ping:
    """Are you there? ``beat`` comes back in the Pong."""

    beat: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The event loop turns: the answer to Ping."""

    beat: int


@dataclass(frozen=True, slots=True)
class Ready:
    """fs answers the kernel; control answers its sockets."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A fresh socket between control and fs, with a fresh mailbox: two descriptors travel with it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End in good order."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """control has flushed every tree it could and ends."""


@dataclass(frozen=True, slots=True)
class Grow:
    """Make the arena's first ``size`` bytes usable and lock them."""

    size: int


@dataclass(frozen=True, slots=True)
class Grown:
    """Answer to Grow: the bytes usable and locked now; ``error`` is an errno or 0."""

    size: int
    error: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Inode numbers of the daemon's own user, pid and mount namespace."""

    user: int
    pid: int
    mnt: int


@dataclass(frozen=True, slots=True)
class AskTreeFd:
    """A detached mount of ``<mountpoint>/<task>/<kind>s`` is wanted; kind 0 secrets, 1 configs."""

    ask: int
    kind: int
    task: str


@dataclass(frozen=True, slots=True)
class TreeFd:
    """Answer to AskTreeFd; with error 0 the descriptor travels with it."""

    ask: int
    error: int


@dataclass(frozen=True, slots=True)
class AskNamespaces:
    """The namespaces of the process whose pidfd travels with it are wanted."""

    ask: int


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Answer to AskNamespaces: inode numbers; ``error`` is an errno or 0."""

    ask: int
    error: int
    user: int
    pid: int
    mnt: int


@dataclass(frozen=True, slots=True)
class AskMembers:
    """Pidfds of all processes of ``task`` are wanted; ``mnt`` is the mount namespace that was recorded for it."""

    ask: int
    mnt: int
    task: str


@dataclass(frozen=True, slots=True)
class Members:
    """Answer to AskMembers: up to MAX_FDS pidfds travel with each; the last one has ``more`` 0."""

    ask: int
    more: int


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


@dataclass(frozen=True, slots=True)
class Loaded:
    """A standby has everything in memory that it will ever need."""


@dataclass(frozen=True, slots=True)
class Go:
    """Serve. With the pidfd of a predecessor: when that one is dead, or Go comes again, without one."""

    usable: int


@dataclass(frozen=True, slots=True)
class Handover:
    """What fs gives to a supervisor that takes the place of one that is gone; six descriptors travel with it, or eight.

    ``usable``: bytes of the arena that may hold plaintext, to be locked again. ``parts``: the mount's device number and
    the recorded INIT, both as text, with a blank between them.
    """

    arena_bytes: int
    usable: int
    parts: str


@dataclass(frozen=True, slots=True)
class AskRepair:
    """Every mount of a tree whose connection has ended is to be replaced, in all mount namespaces."""

    ask: int


@dataclass(frozen=True, slots=True)
class Repaired:
    """Answer to AskRepair: how many mounts were replaced, and how many could not be."""

    ask: int
    replaced: int
    failed: int


@dataclass(frozen=True, slots=True)
class AskSignal:
    """The process whose pidfd travels with it, which must be one of ``task``, is to get the signal; ``mnt`` as in
    AskMembers.
    """

    ask: int
    signal: int
    mnt: int
    task: str


@dataclass(frozen=True, slots=True)
class AskCommand:
    """A command is to be run as the process whose pidfd travels with it, which must be one of ``task``, would run it.

    ``words``: the service's name, the targets that changed (a line each), and the command, with a NUL between them.
    """

    ask: int
    mnt: int
    task: str
    words: str


@dataclass(frozen=True, slots=True)
class AskTouch:
    """Whoever watches a file of the task's tree, or with no target the directory, is to be told; kind as in
    AskTreeFd.
    """

    ask: int
    kind: int
    task: str
    target: str


@dataclass(frozen=True, slots=True)
class Acted:
    """Answer to AskSignal, AskCommand and AskTouch: an errno or 0; ``code``: the command's exit code, 128 + N for a
    signal.
    """

    ask: int
    error: int
    code: int


@dataclass(frozen=True, slots=True)
class AskDropMounts:
    """Every mount of the tree of ``task``, which has ended, is to be taken away, in all mount namespaces."""

    ask: int
    task: str


@dataclass(frozen=True, slots=True)
class MountsDropped:
    """Answer to AskDropMounts: how many mounts are gone, and how many could not be taken away."""

    ask: int
    gone: int
    left: int


Frame: TypeAlias = (
    Ping | Pong | Ready | Wire | Stop | Stopped | Grow | Grown | Identity | AskTreeFd | TreeFd | AskNamespaces
    | Namespaces | AskMembers | Members | TreeBegin | TreeEntry | TreeEnd | Drop | SyncBegin | SyncEnd | Need | Fill
    | NoFill | Done | Loaded | Go | Handover | AskRepair | Repaired | TreeDrain
    | AskSignal | AskCommand | AskTouch | Acted | AskDropMounts | MountsDropped
)  # fmt: skip
FrameT = TypeVar("FrameT", bound=Frame)


class _Layout(NamedTuple):
    """Codes are for ever: a newer secretfs must understand an older one during an upgrade."""

    code: int
    fields: struct.Struct
    tail: bool  # the frame's last field follows as UTF-8


def _layout(code: int, fields: str, *, tail: bool = False) -> _Layout:
    return _Layout(code, struct.Struct("<B" + fields), tail)


_LAYOUTS: Final[dict[type[Frame], _Layout]] = {
    Ping: _layout(1, "Q"),
    Pong: _layout(2, "Q"),
    Ready: _layout(3, ""),
    Wire: _layout(4, ""),
    Stop: _layout(5, ""),
    Stopped: _layout(6, ""),
    Grow: _layout(8, "Q"),
    Grown: _layout(9, "QI"),
    Identity: _layout(10, "QQQ"),
    AskTreeFd: _layout(11, "QB25s"),
    TreeFd: _layout(12, "QI"),
    AskNamespaces: _layout(13, "Q"),
    Namespaces: _layout(14, "QIQQQ"),
    AskMembers: _layout(15, "QQ25s"),
    Members: _layout(16, "QB"),
    TreeBegin: _layout(17, "Q25s"),
    TreeEntry: _layout(18, "BIIIQI25s", tail=True),
    TreeEnd: _layout(19, "Q"),
    Drop: _layout(20, "Q25s"),
    SyncBegin: _layout(21, ""),
    SyncEnd: _layout(22, "Q"),
    Need: _layout(23, "QI25s"),
    Fill: _layout(24, "QII"),
    NoFill: _layout(25, "Q"),
    Done: _layout(26, "QI"),
    Loaded: _layout(40, ""),
    Go: _layout(41, "Q"),
    Handover: _layout(42, "QQ", tail=True),
    AskRepair: _layout(43, "Q"),
    Repaired: _layout(44, "QII"),
    TreeDrain: _layout(70, "I"),
    AskSignal: _layout(50, "QIQ25s"),
    AskCommand: _layout(51, "QQ25s", tail=True),
    AskTouch: _layout(52, "QB25s", tail=True),
    Acted: _layout(53, "QII"),
    AskDropMounts: _layout(76, "Q25s"),
    MountsDropped: _layout(77, "QII"),
}
_TYPES: Final[dict[int, type[Frame]]] = {layout.code: kind for kind, layout in _LAYOUTS.items()}


def encode(frame: Frame) -> bytes:
    """The packet of ``frame``. Raises LinkError for a field that does not fit."""
    layout = _LAYOUTS[type(frame)]
    fields = astuple(frame)
    tail = str(fields[-1]).encode("utf-8", "surrogateescape") if layout.tail else b""
    try:
        values = [_outward(value) for value in (fields[:-1] if layout.tail else fields)]
        packet = layout.fields.pack(layout.code, *values) + tail
    except (struct.error, UnicodeEncodeError) as exc:
        raise LinkError(f"{type(frame).__name__} cannot be sent: {exc}") from exc
    if len(packet) > MAX_FRAME_BYTES:
        raise LinkError(f"{type(frame).__name__} of {len(packet)} bytes is too long to be sent")
    return packet


def decode(packet: bytes) -> Frame:
    """The frame of ``packet``. Raises LinkError for anything that encode did not make."""
    kind = _TYPES.get(packet[0]) if packet else None
    if kind is None:
        raise LinkError(f"a packet of {len(packet)} bytes is no frame")
    layout = _LAYOUTS[kind]
    size = layout.fields.size
    if len(packet) < size or (len(packet) > size and not layout.tail):
        raise LinkError(f"{kind.__name__} of {len(packet)} bytes is cut or too long")
    try:
        values = [_inward(value) for value in layout.fields.unpack_from(packet)[1:]]
        if layout.tail:
            values.append(packet[size:].decode("utf-8", "surrogateescape"))
    except UnicodeDecodeError as exc:
        raise LinkError(f"{kind.__name__} holds an ID that is not ASCII") from exc
    make: Callable[..., Frame] = kind
    return make(*values)


def expect(frame: Frame, kind: type[FrameT]) -> FrameT:
    """``frame`` if it is of ``kind``; LinkError otherwise: the peer is out of step."""
    if not isinstance(frame, kind):
        raise LinkError(f"{type(frame).__name__} came where {kind.__name__} was due")
    return frame


def _outward(value: int | str) -> int | bytes:
    if isinstance(value, int):
        return value
    if len(value) != ID_BYTES:  # struct would cut it, or fill it up
        raise struct.error(f"an ID has {ID_BYTES} characters, not {len(value)}")
    return value.encode("ascii")


def _inward(value: int | bytes) -> int | str:
    return value if isinstance(value, int) else value.decode("ascii")
