"""One commit in the making: the records of a change, the notices that it makes due, and what is published after it.

Nothing of it is seen by anyone before ``commit``; ``commit`` is one step.
"""

import time
from typing import Final

from secretfs.core.names import Kind
from secretfs.core.plan import Entry, Replace
from secretfs.fs.arena import Arena
from secretfs.fs.inodes import Inode, Inodes, fresh_number
from secretfs.fs.manifest import NO_SLOT, Act, Area, Drain, Manifest, Node, NodeType, Notice, Record, Slot

DIRECTORY_MODE: Final = 0o755
AREAS: Final = {Kind.SECRET: Area.SECRETS, Kind.CONFIG: Area.CONFIGS}


class Change:
    """Collects what is to be done to trees."""

    def __init__(self, manifest: Manifest, inodes: Inodes, arena: Arena) -> None:
        self._manifest = manifest
        self._inodes = inodes
        self._arena = arena
        self._delete: list[Record] = []
        self._slots: dict[int, Slot] = {}
        self._drains: list[Drain] = []
        self._notices: list[Notice] = []
        self._new: dict[tuple[str, Area, str], Node] = {}
        self._changed: list[Node] = []
        self._withdrawn: list[Node] = []
        self._refused: list[tuple[int, int]] = []  # serials of node and slot

    def take_out(self, inode: Inode) -> None:
        """The file or directory goes, and every version that only drains in it. Children come before directories."""
        node = inode.node
        act = Act.FORGET if inode.children is None else Act.VANISH
        self._notify(act, node.ino, inode.parent, inode.attributes.st_size, inode.name)
        self._delete.append(node)
        self._withdrawn.append(node)
        for drain in [drain for drain in self._manifest.drains.values() if drain.node == node.serial]:
            self._end(drain)

    def open_task(self, task: str) -> None:
        """The task's three directories are there."""
        for area in (Area.SECRETS, Area.CONFIGS):
            self._directory(task, area, "")

    def expose(self, task: str, entry: Entry, slot: Slot) -> None:
        """The file comes, and the directories on its way."""
        self._use(slot)
        self._add(task, AREAS[entry.kind], entry.target, NodeType.FILE, entry.uid, entry.gid, entry.mode, slot.serial)

    def replace(self, task: str, effect: Replace, slot: Slot) -> None:
        """The file has another owner, mode or slot from here: same inode, never absent."""
        self._use(slot)
        inode = self._inodes.tasks[task][AREAS[effect.old.kind], effect.old.target]
        old, entry = inode.node, effect.new
        self._changed.append(
            Node(old.serial, old.ino, old.type, old.area, entry.uid, entry.gid, entry.mode, time.time_ns(),
                 slot.serial, task, old.path)
        )  # fmt: skip
        if old.slot == slot.serial:
            self._notify(Act.ATTRIBUTES, old.ino)
            return
        self._notify(Act.CHANGE, old.ino, size=inode.attributes.st_size)
        deadline_ns = now_ns() + effect.drain_ms * 1_000_000
        if effect.drain_ms and self._arena.open_count(self._manifest.slots[old.slot]):
            self._drains.append(Drain(old.serial, old.slot, deadline_ns))
        else:
            self._refused.append((old.serial, old.slot))
        for drain in [drain for drain in self._manifest.drains.values() if drain.node == old.serial]:
            if drain.slot == slot.serial:
                self._delete.append(drain)  # what drained is shown again
            elif not effect.drain_ms:
                self._end(drain)  # at once: another object (the old grant is gone with all its versions), or no drain
            elif deadline_ns < drain.deadline_ns:
                self._drains.append(Drain(drain.node, drain.slot, deadline_ns))  # no older version outlives it

    def end_drain(self, drain: Drain) -> None:
        """File handles on the old version are refused; what a mapping of it brought into the page cache goes too."""
        self._end(drain)
        for inode in self._inodes.by_number.values():
            if inode.node.serial == drain.node:
                self._notify(Act.CHANGE, inode.node.ino, size=inode.attributes.st_size)

    def commit(self) -> tuple[Notice, ...]:
        """Make it so, and return the notices that are due. Raises ArenaFullError with nothing changed."""
        nodes = [*self._new.values(), *self._changed]
        put: tuple[Record, ...] = (*self._slots.values(), *nodes, *self._drains, *self._notices)
        self._manifest.commit(put=put, delete=tuple(self._delete))
        for node in self._withdrawn:
            self._inodes.withdraw(node.ino)
        for serial, slot in self._refused:
            self._inodes.refuse(serial, slot)
        for node in nodes:
            self._inodes.publish(node)
        return tuple(self._notices)

    def _use(self, slot: Slot) -> None:
        if slot.serial not in self._manifest.slots:
            self._slots[slot.serial] = slot

    def _end(self, drain: Drain) -> None:
        self._delete.append(drain)
        self._refused.append((drain.node, drain.slot))

    def _directory(self, task: str, area: Area, path: str) -> Node:
        known = self._new.get((task, area, path))
        if known:
            return known
        shown = self._inodes.of_path(task, area, path)
        if shown:
            return shown.node
        return self._add(task, area, path, NodeType.DIRECTORY, 0, 0, DIRECTORY_MODE, NO_SLOT)

    def _add(self, task: str, area: Area, path: str, kind: NodeType, uid: int, gid: int, mode: int, slot: int) -> Node:
        above, _, name = path.rpartition("/")
        parent = None if area is Area.TASK else self._directory(task, area if path else Area.TASK, above)
        node = Node(
            self._manifest.serial(), self._fresh_ino(kind), kind, area, uid, gid, mode, time.time_ns(), slot, task, path
        )
        if parent and (task, parent.area, parent.path) not in self._new:
            self._notify(Act.APPEAR, node.ino, parent.ino, name=(name or area.name.lower()).encode(*_NAMES))
        self._new[task, area, path] = node
        return node

    def _fresh_ino(self, node_type: NodeType) -> int:
        while (ino := fresh_number(node_type)) in self._inodes.by_number or ino <= 1:
            pass
        return ino

    def _notify(self, act: Act, ino: int, parent: int = 0, size: int = 0, name: bytes = b"") -> None:
        number = self._manifest.notice_number()
        self._notices.append(Notice(number, act, ino, parent, size, name.decode(*_NAMES)))


_NAMES: Final = ("utf-8", "surrogateescape")


def now_ns() -> int:
    """CLOCK_BOOTTIME: it goes on while the machine sleeps, and means the same to a successor."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
