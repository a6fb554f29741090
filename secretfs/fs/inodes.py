"""The manifest as the kernel asks for it: by inode number, by name, by file handle. A successor builds it anew.

A directory's serial is lower than those of its children, and children are kept in the order of their serials.

A file handle is ``serial of the node << 32 | serial of the slot``: it names what was opened, not only where. It can be
read exactly while it is a key of ``readable``; a revocation takes the key away.
"""

import os
from collections.abc import Iterator
from typing import Final

import pyfuse3

from secretfs.fs.arena import Arena
from secretfs.fs.manifest import Area, Manifest, Node, NodeType, Slot
from secretfs.link.ring import Subject, subject_slots

_FOREVER: Final = 10 * 365 * 86400.0  # seconds that the kernel may keep names and attributes: changes are told
_DIRECTORY_MODE: Final = 0o040000
_FILE_MODE: Final = 0o100000
_SLOT_BITS: Final = 32
SLOT_MASK: Final = 2**32 - 1  # of a file handle: the slot's serial
_BLOCK: Final = 512  # bytes; the unit of st_blocks, whatever st_blksize says (stat(2))


class Inode:
    """What the handlers of one inode need, made before it is asked for."""

    __slots__ = ("attributes", "children", "file_info", "first_page", "name", "node", "parent", "subject")

    def __init__(self, node: Node, parent: int, name: bytes, slot: Slot | None) -> None:
        self.node = node
        self.parent = parent
        self.name = name
        self.children: dict[bytes, Inode] | None = {} if node.type is NodeType.DIRECTORY else None
        self.update(node, slot)

    def update(self, node: Node, slot: Slot | None) -> None:
        """Take over owner, mode, size and slot of a newer record of the same inode."""
        self.node = node
        self.attributes = _attributes(node, slot.size if slot else 0)
        self.first_page = slot.first_page if slot else -1
        self.subject = _subject(node, slot) if slot else ()  # what the audit of an open says
        self.file_info = pyfuse3.FileInfo(fh=file_handle(node.serial, node.slot), direct_io=True, keep_cache=False)


class Inodes:
    """Every inode of the node, and which file handles may read what."""

    def __init__(self, manifest: Manifest, arena: Arena) -> None:
        self._manifest = manifest
        self._arena = arena
        self.readable: dict[int, memoryview] = {}  # by file handle
        self.by_number: dict[int, Inode] = {pyfuse3.ROOT_INODE: _root()}
        self.tasks: dict[str, dict[tuple[Area, str], Inode]] = {}
        for node in sorted(manifest.nodes.values(), key=lambda node: node.serial):
            self.publish(node)
        for drain in manifest.drains.values():
            self.allow(drain.node, manifest.slots[drain.slot])

    def publish(self, node: Node) -> None:
        """Show a node that was committed, or a newer record of one that is shown."""
        slot = self._manifest.slots.get(node.slot)
        inode = self.by_number.get(node.ino)
        if inode is None:
            self._add(node, slot)
        else:
            inode.update(node, slot)
        if slot:
            self.allow(node.serial, slot)

    def withdraw(self, ino: int) -> None:
        """Show it no more: its name is gone, its file handles are refused, from here."""
        inode = self.by_number.pop(ino)
        paths = self.tasks[inode.node.task]
        del paths[inode.node.area, inode.node.path]
        if not paths:
            del self.tasks[inode.node.task]
        siblings = self._children(inode.parent)
        if siblings is not None:
            siblings.pop(inode.name, None)
        self.refuse(inode.node.serial, inode.node.slot)

    def allow(self, serial: int, slot: Slot) -> None:
        """Let file handles of this node on this slot be read."""
        self.readable[file_handle(serial, slot.serial)] = self._arena.data(slot.first_page, slot.size)

    def refuse(self, serial: int, slot: int) -> None:
        """Let them be read no more: EACCES from the next read on."""
        self.readable.pop(file_handle(serial, slot), None)

    def of_path(self, task: str, area: Area, path: str) -> Inode | None:
        """What is shown there."""
        return self.tasks.get(task, {}).get((area, path))

    def files(self, task: str) -> Iterator[Node]:
        """The files of a task."""
        for inode in self.tasks.get(task, {}).values():
            if inode.children is None:
                yield inode.node

    def _add(self, node: Node, slot: Slot | None) -> None:
        parent, name = self._place(node)
        inode = Inode(node, parent, name, slot)
        self.by_number[node.ino] = inode
        self.tasks.setdefault(node.task, {})[node.area, node.path] = inode
        siblings = self._children(parent)
        if siblings is not None:
            siblings[name] = inode

    def _place(self, node: Node) -> tuple[int, bytes]:
        """Inode number of the directory, and the name in it."""
        if node.area is Area.TASK:
            return pyfuse3.ROOT_INODE, node.task.encode()
        directory, _, name = node.path.rpartition("/")
        area = node.area if node.path else Area.TASK
        name = name or node.area.name.lower()
        return self.tasks[node.task][area, directory].node.ino, name.encode("utf-8", "surrogateescape")

    def _children(self, ino: int) -> dict[bytes, Inode] | None:
        directory = self.by_number.get(ino)
        return directory.children if directory else None


def file_handle(node: int, slot: int) -> int:
    """Serials of node and slot as one number of 64 bits."""
    return node << _SLOT_BITS | slot


def fresh_number(node_type: NodeType) -> int:
    """A random inode number of 63 bits: open_by_handle_at(2) through one task's bind can name any. Files have odd ones,
    so that a number tells what it was when its node is gone.
    """
    return int.from_bytes(os.urandom(8), "little") >> 1 & ~1 | node_type


def of_a_file(ino: int) -> bool:
    """Whether the number is, or was, a file's."""
    return ino & 1 == NodeType.FILE and ino != pyfuse3.ROOT_INODE


def negative_entry() -> pyfuse3.EntryAttributes:
    """What lookup answers for a name that is not there: the kernel remembers it until it is told of one that came."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(0)
    entry.entry_timeout = _FOREVER
    return entry


def _root() -> Inode:
    """The mountpoint itself: for root alone, and it lists nothing."""
    node = Node(0, pyfuse3.ROOT_INODE, NodeType.DIRECTORY, Area.TASK, 0, 0, 0o700, 0, 0, "", "")
    return Inode(node, pyfuse3.ROOT_INODE, b"", None)


def _subject(node: Node, slot: Slot) -> tuple[bytes, ...]:
    return subject_slots(Subject(node.area, slot.version, node.task, slot.object_id, node.path))


def _attributes(node: Node, size: int) -> pyfuse3.EntryAttributes:
    attributes = pyfuse3.EntryAttributes()
    attributes.st_ino = pyfuse3.InodeT(node.ino)
    attributes.generation = 0
    attributes.entry_timeout = attributes.attr_timeout = _FOREVER
    directory = node.type is NodeType.DIRECTORY
    attributes.st_mode = pyfuse3.ModeT((_DIRECTORY_MODE if directory else _FILE_MODE) | node.mode)
    attributes.st_nlink = 2 if directory else 1
    attributes.st_uid, attributes.st_gid = node.uid, node.gid
    attributes.st_size = size
    attributes.st_blksize = 4096
    attributes.st_blocks = -(-size // _BLOCK)
    attributes.st_atime_ns = attributes.st_mtime_ns = attributes.st_ctime_ns = node.mtime_ns
    return attributes
