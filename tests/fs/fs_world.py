"""A node's fs without its process: the real trees, manifest and handlers between a kernel, an arena and a control."""

from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from mmap import mmap

import pytest
import trio
from fs_kernel import Kernel, attach
from fs_memory import Memory, copied, fresh
from pyfuse3 import FUSEError

from secretfs.core.names import Kind, ObjectId
from secretfs.core.plan import Entry, Tree, VersionRef, tree_of
from secretfs.core.secret import DRAIN_MS
from secretfs.fs.arena import Arena
from secretfs.fs.hand import Hand
from secretfs.fs.inodes import Inodes
from secretfs.fs.journal import Journal
from secretfs.fs.manifest import Manifest
from secretfs.fs.opens import Opens
from secretfs.fs.operations import Operations
from secretfs.fs.trees import Trees
from secretfs.link.layout import PAGE, ArenaLayout, pages
from secretfs.link.ring import RING_BYTES

CANARY = 32  # bytes


def ref(name: str, number: int = 1) -> VersionRef:
    return VersionRef(ObjectId(name * 25), number)


def size_of(content: VersionRef) -> int:
    """Versions differ in size; some take several pages."""
    return CANARY * (1 + (content.number * 7 + ord(content.object_id[0])) % 5 * 60) + content.number


def value_of(content: VersionRef) -> bytes:
    """Bytes that no other version holds, all through."""
    canary = f"<{content.object_id[:3]}:{content.number}>".encode().ljust(CANARY, b"#")
    return (canary * (size_of(content) // CANARY + 1))[: size_of(content)]


def entry(
    target: str,
    content: VersionRef,
    *,
    kind: Kind = Kind.SECRET,
    uid: int = 0,
    mode: int = 0o444,
    drain_ms: int = DRAIN_MS,
) -> Entry:
    return Entry(kind, target, uid, 0, mode, content, size_of(content), drain_ms)


def tree(*entries: Entry) -> Tree:
    return tree_of(entries)


@dataclass
class Snapshot:
    """What is left when fs is killed here."""

    at: str
    memory: Memory
    kernel: Kernel


class World:
    """One fs at a time; ``restart`` replaces it by a successor on what it left."""

    def __init__(self, memory: Memory, layout: ArenaLayout, kernel: Kernel, usable: int, nursery: trio.Nursery) -> None:
        self.memory, self.layout, self.kernel, self.usable = memory, layout, kernel, usable
        self._nursery = nursery
        self.events: list[str] = []
        self.moment: Callable[[str], None] = self.events.append  # called wherever fs could be killed
        self.refuse: Callable[[Entry], Exception | None] = lambda _entry: None
        self.before_fill: Callable[[Entry], object] | None = None
        self.grows_to: int | None = None
        self.ring = mmap(-1, RING_BYTES)
        self._start()

    def _start(self) -> None:
        self.manifest = Manifest(Journal(self.memory, self.layout))
        self.arena = Arena(self.memory, self.layout, self.usable, self.manifest.slots.values())
        self._watch_arena()
        self.inodes = Inodes(self.manifest, self.arena)
        self.trees = Trees(self.manifest, self.arena, self.inodes, nursery=self._nursery, grow=self._grow)
        opens = Opens(self.ring, lambda: None)
        self.kernel.operations = Operations()
        hand, released = Hand(self.memory), self.trees.released
        self.kernel.operations.serve(self.manifest, self.inodes, self.arena, opens, takes=hand.takes, released=released)
        self.kernel.before_notification = self._notified
        self.scope = trio.CancelScope()

    async def begin(self) -> None:
        """What fs/main.py does once INIT is handled."""
        await self.trees.settle()
        self._nursery.start_soon(self._end_drains, self.trees, self.scope)

    async def restart(self, snapshot: Snapshot | None = None) -> None:
        self.scope.cancel()
        if snapshot:
            self.memory = snapshot.memory
            before = self.kernel
            before.names, before.attributes = snapshot.kernel.names, snapshot.kernel.attributes
            before.known, before.pages = snapshot.kernel.known, snapshot.kernel.pages
        else:
            self.memory = copied(self.memory)
        self._start()
        await self.begin()

    async def put(self, task: str, desired: Tree) -> None:
        await self.trees.put(task, desired, self.fill)

    async def fill(self, entry: Entry, buffer: memoryview) -> None:
        self.moment(f"fill {entry.target}")
        if self.before_fill:
            await self.before_fill(entry)
        refusal = self.refuse(entry)
        buffer[: len(buffer) // 2] = value_of(entry.content)[: len(buffer) // 2]
        self.moment(f"half filled {entry.target}")
        await trio.lowlevel.checkpoint()
        if refusal:
            raise refusal
        buffer[:] = value_of(entry.content)
        self.moment(f"filled {entry.target}")

    def snapshot(self, at: str) -> Snapshot:
        return Snapshot(at, copied(self.memory), self.kernel.copy())

    def plaintexts(self, contents: Iterable[VersionRef]) -> set[VersionRef]:
        """Those of which the data pages still hold a byte."""
        data = self.memory[self.layout.data :]
        return {content for content in contents if value_of(content)[:9] in data}

    def seen(self, task: str, kind: Kind, target: str, *, in_between: bool = False) -> tuple[int, int, bytes] | None:
        """Owner, mode and bytes as a client finds them by name, or None. Attributes follow by the end of a change."""
        try:
            ino = self.kernel.walk(task, f"{kind.value}s", target)
            attributes = self.kernel.stat(ino)
            handle = self.kernel.open(ino)
        except FUSEError:
            return None
        try:
            value = self.kernel.read(handle)
        finally:
            self.kernel.close(handle)
        assert in_between or attributes.st_size == len(value)
        return attributes.st_uid, attributes.st_mode & 0o777, value

    async def _end_drains(self, trees: Trees, scope: trio.CancelScope) -> None:
        with scope:
            await trees.end_drains()

    async def _grow(self, wanted: int) -> int:
        await trio.lowlevel.checkpoint()
        limit = self.layout.data_bytes if self.grows_to is None else self.grows_to
        self.usable = max(self.usable, min(pages(wanted) * PAGE, limit))
        return self.usable

    def _notified(self, act: str, ino: int, what: object) -> None:
        self.moment(f"{act} {ino} {what if act != 'store' else ''}")

    def _watch_arena(self) -> None:
        wipe = self.arena.wipe

        def watched(first_page: int, size: int) -> None:
            start = self.layout.data + first_page * PAGE
            self.moment(f"wipe {first_page}")
            wipe(first_page, size)
            assert not any(self.memory[start : start + size])

        self.arena.wipe = watched


@asynccontextmanager
async def world(*, data_pages: int = 64, usable_pages: int = 8):
    """A first fs, with nothing in its arena."""
    layout = ArenaLayout(data_pages * PAGE)
    kernel = Kernel()
    with pytest.MonkeyPatch.context() as patch:
        attach(kernel, patch)
        async with trio.open_nursery() as nursery:
            made = World(fresh(layout), layout, kernel, usable_pages * PAGE, nursery)
            await made.begin()
            yield made
            nursery.cancel_scope.cancel()
