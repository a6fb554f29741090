"""From the trees that control wants to commits, publications and notifications.

The order that survives kill -9 at every step: fill slots → commit, with the notices that it makes due → publish → tell
the kernel → wipe → commit. What stands between two awaits is one step to every other task of the process.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio

from secretfs.core.names import Kind, ObjectId
from secretfs.core.plan import Entry, Expose, Flush, Replace, Tree, VersionRef, difference, tree_of
from secretfs.errors import ArenaFullError, SecretfsError, WithheldError
from secretfs.fs import flush, log
from secretfs.fs.arena import Arena
from secretfs.fs.change import AREAS, Change, now_ns
from secretfs.fs.inodes import Inode, Inodes
from secretfs.fs.manifest import Area, Drain, Manifest, Notice, Slot
from secretfs.link.layout import GROW_BYTES

TELL_SECONDS: Final = 1.0  # how long a change waits for the kernel: reads are refused and bytes wiped without it
_AT_ONCE: Final = 1000  # withdrawn in one commit: with the longest names, less than the journal keeps in reserve
_KINDS: Final[dict[Area, Kind]] = {area: kind for kind, area in AREAS.items()}

Fill = Callable[[Entry, memoryview], Awaitable[None]]  # writes the value's bytes, all of them, or raises
Grow = Callable[[int], Awaitable[int]]  # bytes wanted usable → bytes that are


class Trees:
    """Every tree of the node. Changes come one at a time; drains and late notifications run beside them."""

    def __init__(self, manifest: Manifest, arena: Arena, inodes: Inodes, *, nursery: trio.Nursery, grow: Grow) -> None:
        self._manifest = manifest
        self._arena = arena
        self._inodes = inodes
        self._nursery = nursery
        self._grow = grow
        self._changing = trio.Lock()
        self._coming: set[int] = set()  # serials of slots that the change under way will name: not to be wiped
        self._look_at_drains = trio.Event()

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that have a tree."""
        return frozenset(self._inodes.tasks)

    async def put(self, task: str, desired: Tree, fill: Fill) -> None:
        """Make the task's tree this one; returns when it is, to every process that looks.

        What goes is gone even when what should come cannot: then it raises ArenaFullError, or what ``fill`` raised.
        Only WithheldError leaves the rest of what comes as it should be.
        """
        async with self._changing:
            effects = difference(self._current(task), desired)
            await self._withdraw(task, [effect.entry for effect in effects if isinstance(effect, Flush)])
            coming = [effect for effect in effects if not isinstance(effect, Flush)]
            try:
                notices, withheld = await self._filled_and_shown(task, coming, fill)
            except SecretfsError:
                await self._withdraw(task, [old for effect in coming if (old := _revoked(effect))])
                raise
            await self._withdraw(task, [old for effect in withheld if (old := _revoked(effect))])
        await self._tell(notices)
        if withheld:
            raise WithheldError(f"task {task}: {len(withheld)} files have to wait")

    async def drop(self, task: str) -> None:
        """Flush the task's files and directories; returns when they are wiped."""
        async with self._changing:
            notices = self._taken_out(list(self._inodes.tasks.get(task, {}).values()))
        await self._tell(notices)

    async def settle(self) -> None:
        """Finish what a predecessor began: send the notices that are due, wipe what nothing names."""
        await self._tell(tuple(self._manifest.notices.values()))

    def released(self, slot: Slot) -> None:
        """A file handle was released; if it was the last on a version that only drains, that version's time is over."""
        if not self._arena.open_count(slot):
            self._look_at_drains.set()

    async def end_drains(self) -> None:
        """Refuse and wipe old versions when their time is over or nobody has them open. Runs for ever."""
        while True:
            over = [drain for drain in self._manifest.drains.values() if self._over(drain)]
            if over:
                change = self._change()
                for drain in over:
                    change.end_drain(drain)
                await self._tell(change.commit())
            self._look_at_drains = trio.Event()
            deadlines = [drain.deadline_ns for drain in self._manifest.drains.values()]
            seconds = (min(deadlines) - now_ns()) / 1e9 if deadlines else float("inf")
            with trio.move_on_after(max(seconds, 0)):
                await self._look_at_drains.wait()

    # -- what is, and what goes --------------------------------------------------------------------------------------

    def _change(self) -> Change:
        return Change(self._manifest, self._inodes, self._arena)

    def _current(self, task: str) -> Tree:
        return tree_of(
            Entry(
                _KINDS[node.area],
                node.path,
                node.uid,
                node.gid,
                node.mode,
                VersionRef(ObjectId(slot.object_id), slot.version),
                slot.size,
            )
            for node in self._inodes.files(task)
            if (slot := self._manifest.slots[node.slot])
        )

    async def _withdraw(self, task: str, entries: Iterable[Entry]) -> None:
        files = [self._inodes.of_path(task, AREAS[entry.kind], entry.target) for entry in entries]
        found = [inode for inode in files if inode is not None]
        await self._tell(self._taken_out([*found, *self._emptied(found)]))

    def _taken_out(self, inodes: Sequence[Inode]) -> tuple[Notice, ...]:
        """Children before directories. A successor may find a part of it done: control says it again."""
        ordered = sorted(inodes, key=lambda inode: -inode.node.serial)
        notices: list[Notice] = []
        for at in range(0, len(ordered), _AT_ONCE):
            change = self._change()
            for inode in ordered[at : at + _AT_ONCE]:
                change.take_out(inode)
            notices += change.commit()
        return tuple(notices)

    def _emptied(self, files: Sequence[Inode]) -> list[Inode]:
        """The sub-directories that hold nothing but these files."""
        gone = {inode.node.ino for inode in files}
        emptied: list[Inode] = []
        for inode in files:
            directory = self._inodes.by_number[inode.parent]
            while directory.node.path and gone.issuperset(_children(directory)):
                if directory.node.ino not in gone:
                    gone.add(directory.node.ino)
                    emptied.append(directory)
                directory = self._inodes.by_number[directory.parent]
        return emptied

    def _over(self, drain: Drain) -> bool:
        return drain.deadline_ns <= now_ns() or not self._arena.open_count(self._manifest.slots[drain.slot])

    # -- what comes --------------------------------------------------------------------------------------------------

    async def _filled_and_shown(
        self, task: str, effects: Sequence[Expose | Replace], fill: Fill
    ) -> tuple[tuple[Notice, ...], Sequence[Expose | Replace]]:
        """The notices that are due, and the effects whose values are withheld.

        A drain may end while a value is waited for: its slot is kept if this change shows it again.
        """
        try:
            slots = await self._filled(effects, fill)
            shown = [effect for effect in effects if _coming(effect).content in slots]
            withheld = [effect for effect in effects if _coming(effect).content not in slots]
            return self._show(task, shown, slots), withheld
        finally:
            self._coming.clear()

    async def _filled(self, effects: Iterable[Expose | Replace], fill: Fill) -> dict[VersionRef, Slot]:
        """A slot for each version that is to come: one that is there, or a new one, filled but not committed.

        None for those that are withheld.
        """
        slots: dict[VersionRef, Slot] = {}
        withheld: set[VersionRef] = set()
        try:
            for entry in map(_coming, effects):
                if entry.content in slots or entry.content in withheld:
                    continue
                try:
                    slots[entry.content] = self._held(entry) or await self._new_slot(entry, fill)
                except WithheldError:
                    withheld.add(entry.content)
        except BaseException:
            self._abandon(slots.values())
            raise
        return slots

    def _held(self, entry: Entry) -> Slot | None:
        slot = self._manifest.slot_of(entry.content.object_id, entry.content.number)
        if slot:
            self._coming.add(slot.serial)
        return slot

    async def _new_slot(self, entry: Entry, fill: Fill) -> Slot:
        page = await self._allocated(entry.size)
        content = entry.content
        slot = Slot(self._manifest.serial(), page, content.number, entry.size, content.object_id)
        try:
            await fill(entry, self._arena.data(page, entry.size))
        except BaseException:
            self._abandon([slot])
            raise
        return slot

    async def _allocated(self, size: int) -> int:
        """A run of pages; the supervisor is asked to lock more of the arena when none is free."""
        while True:
            try:
                return self._arena.allocate(size)
            except ArenaFullError:
                before = self._arena.usable
                wanted = min(before + size + GROW_BYTES, self._arena.capacity)
                if wanted > before:
                    self._arena.grown(await self._grow(wanted))
                if self._arena.usable == before:
                    raise

    def _abandon(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            if slot.serial not in self._manifest.slots:
                self._arena.wipe(slot.first_page, slot.size)

    def _show(
        self, task: str, effects: Sequence[Expose | Replace], slots: dict[VersionRef, Slot]
    ) -> tuple[Notice, ...]:
        change = self._change()
        change.open_task(task)
        for effect in effects:
            slot = slots[_coming(effect).content]
            if isinstance(effect, Expose):
                change.expose(task, effect.entry, slot)
            else:
                change.replace(task, effect, slot)
        try:
            notices = change.commit()
        except ArenaFullError:
            self._abandon(slots.values())
            raise
        self._look_at_drains.set()  # one has begun, or ends sooner
        return notices

    # -- the kernel, and the wiping ----------------------------------------------------------------------------------

    async def _tell(self, notices: tuple[Notice, ...]) -> None:
        """Tell the kernel, wipe, and strike the notices off; a client that holds a directory's lock delays itself."""
        if not notices:
            self._wipe()
            return
        told = trio.Event()
        self._nursery.start_soon(self._tell_now, notices, told)
        with trio.move_on_after(TELL_SECONDS) as waiting:
            await told.wait()
        if waiting.cancelled_caught:
            self._wipe()
            log.warning("the kernel is slow to forget", notices=len(notices))

    async def _tell_now(self, notices: tuple[Notice, ...], told: trio.Event) -> None:
        done = await flush.tell(notices, wipe=self._wipe)
        self._manifest.commit(delete=done)
        told.set()

    def _wipe(self) -> None:
        unnamed = tuple(slot for slot in self._manifest.unnamed() if slot.serial not in self._coming)
        for slot in unnamed:
            self._arena.wipe(slot.first_page, slot.size)
        self._manifest.commit(delete=unnamed)


def _coming(effect: Expose | Replace) -> Entry:
    return effect.entry if isinstance(effect, Expose) else effect.new


def _revoked(effect: Expose | Replace) -> Entry | None:
    """The entry that must go even if its successor cannot come: another object was to stand at its target."""
    return effect.old if isinstance(effect, Replace) and effect.revokes else None


def _children(directory: Inode) -> Iterable[int]:
    return (child.node.ino for child in (directory.children or {}).values())
