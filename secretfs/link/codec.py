"""Every frame that one process of secretfs sends to another, and its bytes.

A packet is ``code (1 byte) || fixed fields (little endian) || the last field's bytes, where the frame ends in one``.
IDs travel as 25 ASCII bytes. The table ``_LAYOUTS`` is the whole format: nothing else packs or parses. What the frames
mean is said where they are: ``pulse.py`` and ``serving.py``, ``brokering.py``, ``desired.py``.
"""

import struct
from collections.abc import Callable
from dataclasses import astuple
from typing import Final, NamedTuple, TypeAlias, TypeVar

from secretfs.errors import LinkError
from secretfs.link import brokering, desired, pulse, serving

MAX_FRAME_BYTES: Final = 8192  # a TreeEntry with the longest target (PATH_MAX 4096) fits
ID_BYTES: Final = 25

Frame: TypeAlias = pulse.Frame | serving.Frame | brokering.Frame | desired.Frame
FrameT = TypeVar("FrameT", bound=Frame)


class _Layout(NamedTuple):
    """Codes are for ever: a newer secretfs must understand an older one during an upgrade."""

    code: int
    fields: struct.Struct
    tail: bool  # the frame's last field follows as UTF-8


def _layout(code: int, fields: str, *, tail: bool = False) -> _Layout:
    return _Layout(code, struct.Struct("<B" + fields), tail)


_LAYOUTS: Final[dict[type[Frame], _Layout]] = {
    pulse.Ping: _layout(1, "Q"),
    pulse.Pong: _layout(2, "Q"),
    pulse.Ready: _layout(3, ""),
    pulse.Wire: _layout(4, ""),
    pulse.Stop: _layout(5, ""),
    pulse.Stopped: _layout(6, ""),
    serving.Grow: _layout(8, "Q"),
    serving.Grown: _layout(9, "QI"),
    brokering.Identity: _layout(10, "QQQ"),
    brokering.AskTreeFd: _layout(11, "QB25s"),
    brokering.TreeFd: _layout(12, "QI"),
    brokering.AskNamespaces: _layout(13, "Q"),
    brokering.Namespaces: _layout(14, "QIQQQ"),
    brokering.AskMembers: _layout(15, "QQ25s"),
    brokering.Members: _layout(16, "QB"),
    desired.TreeBegin: _layout(17, "Q25s"),
    desired.TreeEntry: _layout(18, "BIIIQI25s", tail=True),
    desired.TreeEnd: _layout(19, "Q"),
    desired.Drop: _layout(20, "Q25s"),
    desired.SyncBegin: _layout(21, ""),
    desired.SyncEnd: _layout(22, "Q"),
    desired.Need: _layout(23, "QI25s"),
    desired.Fill: _layout(24, "QII"),
    desired.NoFill: _layout(25, "Q"),
    desired.Done: _layout(26, "QI"),
    serving.Loaded: _layout(40, ""),
    serving.Go: _layout(41, "Q"),
    serving.Handover: _layout(42, "QQ", tail=True),
    brokering.AskRepair: _layout(43, "Q"),
    brokering.Repaired: _layout(44, "QII"),
    desired.TreeDrain: _layout(70, "I"),
    brokering.AskSignal: _layout(50, "QIQ25s"),
    brokering.AskCommand: _layout(51, "QQ25s", tail=True),
    brokering.AskTouch: _layout(52, "QB25s", tail=True),
    brokering.Acted: _layout(53, "QII"),
    brokering.AskDropMounts: _layout(76, "Q25s"),
    brokering.MountsDropped: _layout(77, "QII"),
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
