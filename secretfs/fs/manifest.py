"""What the arena holds and what the trees are: a table of records, changed only by commits to the journal.

A commit is all or nothing, and costs what it changes. It carries the notifications that it makes due as records of
their own (Notice), so that a successor sends what a dead fs had not yet sent. Numbers called *serial* are never used
twice: a file handle is a pair of them and must not come to mean something else.

On the wire a change is ``code u8 | body length u16 | body``; a record's code deletes it with the high bit set, its body
then being the key.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from secretfs.fs.journal import Journal

NO_SLOT: Final = 0  # serials begin at 1
_DELETE: Final = 0x80
_CHANGE = struct.Struct("<BH")
_KEY = struct.Struct("<QQ")


class NodeType(IntEnum):
    """What an inode is."""

    DIRECTORY = 0
    FILE = 1


class Area(IntEnum):
    """In which of a task's three directories a node lies."""

    SECRETS = 0
    CONFIGS = 1
    TASK = 2  # the task's own directory, parent of the other two


class Act(IntEnum):
    """What the kernel must still be told."""

    FORGET = 0  # a file went: zero and drop its pages, drop its name
    VANISH = 1  # a directory went: drop its name
    APPEAR = 2  # a name came where a negative entry may be
    CHANGE = 3  # a file has other bytes: zero and drop its pages, drop its attributes
    ATTRIBUTES = 4  # a file has another owner or mode: drop its attributes


@dataclass(frozen=True, slots=True)
class Node:
    """An inode. ``path`` is relative to the area's directory, "" for that directory itself."""

    serial: int
    ino: int
    type: NodeType
    area: Area
    uid: int
    gid: int
    mode: int
    mtime_ns: int
    slot: int  # serial of the slot a file shows
    task: str
    path: str


@dataclass(frozen=True, slots=True)
class Slot:
    """The plaintext of one version, in whole pages of the arena's data."""

    serial: int
    first_page: int
    version: int
    size: int  # bytes
    object_id: str


@dataclass(frozen=True, slots=True)
class Drain:
    """File handles of ``node`` on an older ``slot`` read on until the deadline (CLOCK_BOOTTIME)."""

    node: int  # serial
    slot: int  # serial
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification that is due: ``parent`` and ``name`` for acts on names; ``size`` as the kernel knows it."""

    number: int
    act: Act
    ino: int
    parent: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Serial:
    """The highest serial ever given out; there is one such record."""

    highest: int


Record: TypeAlias = Node | Slot | Drain | Notice | Serial
_CODES: Final[dict[type[Record], tuple[int, struct.Struct, int]]] = {  # code, fixed fields, count of text fields
    Node: (1, struct.Struct("<IQBBIIIQI25s"), 1),
    Slot: (2, struct.Struct("<IIIQ25s"), 0),
    Drain: (3, struct.Struct("<IIQ"), 0),
    Notice: (4, struct.Struct("<QBQQQ"), 1),
    Serial: (5, struct.Struct("<I"), 0),
}
_TYPES: Final = {code: kind for kind, (code, _, _) in _CODES.items()}
Key: TypeAlias = tuple[int, int]


class Manifest:
    """The records, as of the last commit. Tables are read by anyone, changed by ``commit`` alone."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.nodes: dict[int, Node] = {}  # by inode number
        self.slots: dict[int, Slot] = {}  # by serial
        self.drains: dict[Key, Drain] = {}  # by serials of node and slot
        self.notices: dict[int, Notice] = {}  # by number
        self._references: Counter[int] = Counter()  # by serial of a slot: nodes and drains that name it
        self._unnamed: set[int] = set()
        self._by_content: dict[tuple[str, int], Slot] = {}
        self._highest = 0
        for batch in journal.replay():
            self._apply(batch)
        self._last_notice = max(self.notices, default=0)

    def serial(self) -> int:
        """A number never given out before; it counts as given out when a commit mentions it or a higher one."""
        self._highest += 1
        return self._highest

    def notice_number(self) -> int:
        """A number that no notice has which is still due."""
        self._last_notice += 1
        return self._last_notice

    def slot_of(self, object_id: str, version: int) -> Slot | None:
        """The slot that holds this version."""
        return self._by_content.get((object_id, version))

    def unnamed(self) -> tuple[Slot, ...]:
        """The slots that no node and no drain names: to be wiped."""
        return tuple(self.slots[serial] for serial in self._unnamed)

    def commit(self, *, put: tuple[Record, ...] = (), delete: tuple[Record, ...] = ()) -> None:
        """Delete these records, then put those, all or nothing. Raises ArenaFullError with nothing changed.

        A commit that puts no node and no slot has room in reserve.
        """
        if not put and not delete:
            return
        given_out = Serial(self._highest)
        batch = b"".join([*map(_deletion, delete), *map(_addition, put), _addition(given_out)])
        growing = any(isinstance(record, Node | Slot) for record in put)
        self._journal.append(batch, self._snapshot, reserved=not growing)
        self._apply(batch)

    def _snapshot(self) -> bytes:
        tables = (self.nodes, self.slots, self.drains, self.notices)
        records: list[Record] = [record for table in tables for record in table.values()]
        return b"".join(map(_addition, [*records, Serial(self._highest)]))

    def _apply(self, batch: bytes) -> None:
        for code, body in _changes(batch):
            kind = _TYPES[code & ~_DELETE]
            if code & _DELETE:
                self._delete(kind, _KEY.unpack(body))
            else:
                self._put(_record(kind, body))

    def _put(self, record: Record) -> None:
        match record:
            case Node():
                self._refer(record.slot, self.nodes.get(record.ino))
                self.nodes[record.ino] = record
            case Slot():
                self.slots[record.serial] = record
                if not self._references[record.serial]:  # a snapshot may tell the nodes first
                    self._unnamed.add(record.serial)
                self._by_content[record.object_id, record.version] = record
            case Drain():
                self._refer(record.slot, self.drains.get((record.node, record.slot)))
                self.drains[record.node, record.slot] = record
            case Notice():
                self.notices[record.number] = record
            case Serial():
                self._highest = max(self._highest, record.highest)

    def _delete(self, kind: type[Record], key: Key) -> None:
        if kind is Node:
            self._refer(NO_SLOT, self.nodes.pop(key[0], None))
        elif kind is Slot and (slot := self.slots.pop(key[0], None)) is not None:
            self._by_content.pop((slot.object_id, slot.version), None)
            self._unnamed.discard(slot.serial)
        elif kind is Drain:
            self._refer(NO_SLOT, self.drains.pop(key, None))
        elif kind is Notice:
            self.notices.pop(key[0], None)

    def _refer(self, slot: int, instead_of: Node | Drain | None) -> None:
        if slot:
            self._references[slot] += 1
            self._unnamed.discard(slot)
        if instead_of is not None and instead_of.slot:
            self._references[instead_of.slot] -= 1
            if not self._references[instead_of.slot]:
                del self._references[instead_of.slot]
                self._unnamed.add(instead_of.slot)


def _key(record: Record) -> Key:
    match record:
        case Node():
            return record.ino, 0
        case Slot():
            return record.serial, 0
        case Drain():
            return record.node, record.slot
        case Notice():
            return record.number, 0
        case Serial():
            return 0, 0


def _addition(record: Record) -> bytes:
    code, fixed, texts = _CODES[type(record)]
    values = [getattr(record, name) for name in record.__dataclass_fields__]
    text = values.pop().encode("utf-8", "surrogateescape") if texts else b""
    body = fixed.pack(*[value.encode() if isinstance(value, str) else value for value in values]) + text
    return _CHANGE.pack(code, len(body)) + body


def _deletion(record: Record) -> bytes:
    return _CHANGE.pack(_CODES[type(record)][0] | _DELETE, _KEY.size) + _KEY.pack(*_key(record))


def _record(kind: type[Record], body: bytes) -> Record:
    _, fixed, texts = _CODES[kind]
    values = [value.decode() if isinstance(value, bytes) else value for value in fixed.unpack_from(body)]
    if texts:
        values.append(body[fixed.size :].decode("utf-8", "surrogateescape"))
    make: Callable[..., Record] = kind
    match make(*values):
        case Node() as node:
            return _typed(node)
        case Notice(number, act, ino, parent, size, name):
            return Notice(number, Act(act), ino, parent, size, name)
        case record:
            return record


def _typed(node: Node) -> Node:
    """The node with its enums: numbers came from the bytes."""
    return Node(
        node.serial, node.ino, NodeType(node.type), Area(node.area), node.uid, node.gid, node.mode, node.mtime_ns,
        node.slot, node.task, node.path,
    )  # fmt: skip


def _changes(batch: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(batch):
        code, size = _CHANGE.unpack_from(batch, at)
        at += _CHANGE.size
        yield code, batch[at : at + size]
        at += size
