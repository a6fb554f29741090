"""The trees that this node should show, and their way to fs. Rule: the store decides; a tree is always
computed anew from it.

So two changes that overlap cannot leave an old tree behind: whichever is last has read both. A task that has
ended is marked here first, and nothing that reads its record a moment too late shows it again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final
from weakref import WeakValueDictionary

import trio

from secretfs.control import log
from secretfs.control.ports import FileSystem
from secretfs.control.records.lookup import Found, by_id, every
from secretfs.control.records.objects import OBJECTS
from secretfs.control.records.services import SERVICES
from secretfs.control.records.tasks import TASKS
from secretfs.control.shown import Shown
from secretfs.core.grant import Grant
from secretfs.core.names import ObjectId, ServiceId, TaskId
from secretfs.core.plan import Tree, VersionRef, desired_tree
from secretfs.core.secret import Secret
from secretfs.core.service import Service
from secretfs.core.task import Task
from secretfs.core.versions import Held
from secretfs.errors import ArenaFullError, CorruptRecordError, LockedError, NotFoundError, SecretfsError, UnsealError
from secretfs.store.base import Store
from secretfs.store.turn import Turn

RENEW_SECONDS: Final = 2.0  # how long an unlock waits for running tasks, as an update does
RETRY_SECONDS: Final = 1.0  # between two attempts to show a tree that fs did not take


class Trees:
    """The desired trees of all tasks. ``load`` before fs is asked for anything: what is not here gets
    flushed there. ``changed`` is called with a task and its tree before (None: it is not known), when fs may show
    another now.
    """

    def __init__(self, store: Store, shown: Shown | None = None) -> None:
        self._store = store
        self._desired: dict[TaskId, Tree] = {}
        self._services: dict[TaskId, ServiceId | None] = {}  # of the tasks that have one
        self._in_fs = shown or Shown()
        self._ended: set[TaskId] = set()
        self._behind: set[TaskId] = set()  # fs did not take their last tree
        self._wanted: set[TaskId] = set()  # to be shown, now or later
        self._withheld: dict[TaskId, frozenset[VersionRef]] = {}  # what a tree lacks as the store was locked
        self._not_shown = trio.Event()  # one of them was given up for now
        self.changed: Callable[[TaskId, Tree | None], None] = _nobody_asks
        self._turns: WeakValueDictionary[TaskId, Turn] = WeakValueDictionary()

    def desired(self) -> Mapping[TaskId, Tree]:
        """All of them, as of now: what fs is brought to when it, or control, was started."""
        return dict(self._desired)

    def shown(self) -> Mapping[TaskId, Tree]:
        """All of them as fs shows them."""
        return self._in_fs.trees()

    def concerned(self, object_id: ObjectId) -> list[TaskId]:
        """The tasks that a change of the object may be news to: those that show it, and those whose tree is just
        being computed, perhaps from what the store said before.
        """
        return sorted({task for task, tree in self._desired.items() if _shows(tree, object_id)} | set(self._turns))

    def of_service(self, service_id: ServiceId) -> list[TaskId]:
        """The tasks that a change of the service may be news to; as ``concerned``."""
        known = {task for task in self._desired if self._services.get(task) == service_id}
        return sorted(known | set(self._turns))

    def held(self, object_id: ObjectId) -> list[Held]:
        """Who shows which version of the object, in fs or as soon as fs takes it, and who may have one open still."""
        soon = {Held(task, entry.content) for task, tree in self._desired.items() for entry in tree.values()}
        return [held for held in soon.union(self._in_fs.held()) if held.content.object_id == object_id]

    async def load(self) -> None:
        """Compute the trees of all tasks in the store, whether they still live or not: they are not told
        apart here.
        """
        for found in await every(self._store, TASKS):
            task = found.value
            tree, objects = await self._computed(task)
            self._desired[task.id] = tree
            self._services[task.id] = task.service_id
            self._behind.add(task.id)  # the control before may have died between its commit and its word to fs
            self._in_fs.found(task.id, tree, objects, task.since_ns)

    async def show(self, fs: FileSystem, task_id: TaskId) -> Tree:
        """Bring the task's tree in fs to what the store says now. Raises: UnavailableError,
        ArenaFullError, UnsealError, LockedError.

        One that is given up before it is done, or fails, is done later by ``keep_up``.
        """
        self._wanted.add(task_id)
        try:
            async with self._turn(task_id):
                self._wanted.discard(task_id)  # what was asked for until here is in the store, and read from here
                return await self._shown(fs, task_id)
        except LockedError:
            raise  # ``renew`` does it
        except BaseException:
            self._wanted.add(task_id)
            self._not_shown.set()
            raise

    async def confirm(self, fs: FileSystem, task_id: TaskId) -> None:
        """Have fs show the task's tree, whatever became of fs since it was told of it. Raises: as show."""
        if task_id in self._desired:
            self._in_fs.unknown(task_id)
            self._behind.add(task_id)
            await self.show(fs, task_id)

    def refused(self, task_id: TaskId) -> None:
        """A fresh fs, or fs at a new control, could not take the tree: what it shows is not known; tried again."""
        if task_id in self._desired:
            self._in_fs.ended(task_id)
            self._behind.add(task_id)
            self._wanted.add(task_id)
            self._not_shown.set()

    async def end(self, fs: FileSystem, task_id: TaskId) -> None:
        """Flush the task's tree, and never show it again. When fs is away it flushes what it is not asked
        for on its return.
        """
        self._ended.add(task_id)
        async with self._turn(task_id):
            self._desired.pop(task_id, None)
            self._services.pop(task_id, None)
            self._behind.discard(task_id)
            self._withheld.pop(task_id, None)
            try:
                await fs.drop_tree(task_id)
            except SecretfsError as exc:
                log.warning("a tree is flushed as soon as fs is back", task=task_id, error=str(exc))
            self._in_fs.ended(task_id)

    def withheld(self, task_id: TaskId, contents: frozenset[VersionRef]) -> None:
        """The tree was not shown these versions, as the store is locked."""
        self._withheld[task_id] = contents
        self._in_fs.lacks(task_id, contents)

    def lacking(self, task_id: TaskId) -> int:
        """How many files of the task wait for the store to be unlocked."""
        contents = self._withheld.get(task_id, frozenset())
        return sum(entry.content in contents for entry in self._desired.get(task_id, {}).values())

    async def renew(self, fs: FileSystem) -> None:
        """The store was unlocked: show what was withheld. What is not shown within RENEW_SECONDS is shown later."""
        self._behind |= self._withheld.keys()
        self._wanted |= self._withheld.keys()
        self._not_shown.set()
        with trio.move_on_after(RENEW_SECONDS):
            async with trio.open_nursery() as nursery:
                for task_id in list(self._withheld):
                    nursery.start_soon(self._again, fs, task_id)

    def forget(self, task_id: TaskId) -> None:
        """The task's record is gone: nothing can ask for its tree any more."""
        self._ended.discard(task_id)

    async def keep_up(self, fs: FileSystem) -> None:
        """Show again, until cancelled, what is not shown yet (fs was away, or the arena was full)."""
        while True:
            await self._not_shown.wait()
            self._not_shown = trio.Event()
            await trio.sleep(RETRY_SECONDS)
            for task_id in sorted(self._wanted):
                await self._again(fs, task_id)

    async def end_all(self, fs: FileSystem) -> None:
        """Flush every tree; the records of the tasks stay."""
        async with trio.open_nursery() as nursery:
            for task_id in list(self._desired):
                nursery.start_soon(self.end, fs, task_id)

    async def _again(self, fs: FileSystem, task_id: TaskId) -> None:
        try:
            await self.show(fs, task_id)
        except SecretfsError as exc:
            log.warning("a task does not show its grants yet", task=task_id, error=str(exc))

    def _turn(self, task_id: TaskId) -> Turn:
        """What a task's changes take turns with; it is there for as long as one of them has or wants it."""
        return self._turns.setdefault(task_id, Turn())

    async def _shown(self, fs: FileSystem, task_id: TaskId) -> Tree:
        """Within the task's turn. Whether it has ended is asked before its record is read: once it has ended the
        record may go, and with it the mark.
        """
        if task_id in self._ended:
            return {}
        found = await by_id(self._store, TASKS, task_id)
        if found is None:
            return {}
        self._services[task_id] = found.value.service_id
        tree, _ = await self._computed(found.value)
        before, attached = self._in_fs.tree(task_id), task_id in self._desired
        try:
            await self._put(fs, task_id, tree)
        finally:
            if attached:
                self.changed(task_id, before)
        return tree

    async def _put(self, fs: FileSystem, task_id: TaskId, tree: Tree) -> None:
        if self._desired.get(task_id) != tree or task_id in self._behind:
            self._desired[task_id] = tree
            self._behind.add(task_id)
            try:
                await fs.put_tree(task_id, tree)
            except (ArenaFullError, NotFoundError, UnsealError):
                self._in_fs.refused(task_id, tree)
                raise
            except LockedError:
                self._in_fs.took(task_id, tree)
                self._in_fs.lacks(task_id, self._withheld[task_id])
                raise
            self._in_fs.took(task_id, tree)
            self._behind.discard(task_id)
            self._withheld.pop(task_id, None)

    async def _computed(self, task: Task) -> tuple[Tree, dict[ObjectId, Secret]]:
        grants = [*await self._service_grants(task), *task.grants]
        objects = await self._objects(grants)
        return desired_tree(grants, objects), objects

    async def _service_grants(self, task: Task) -> tuple[Grant, ...]:
        if task.service_id is None:
            return ()
        try:
            found: Found[Service] | None = await by_id(self._store, SERVICES, task.service_id)
        except CorruptRecordError as exc:
            log.error("a task is without its service's grants", task=task.id, error=str(exc))
            found = None
        return () if found is None else found.value.grants

    async def _objects(self, grants: Iterable[Grant]) -> dict[ObjectId, Secret]:
        objects: dict[ObjectId, Secret] = {}
        for grant in grants:
            try:
                found = await by_id(self._store, OBJECTS[grant.kind], grant.object_id)
            except CorruptRecordError as exc:
                log.error("a grant is not shown", target=grant.target, error=str(exc))
                continue
            if found is not None:
                objects[grant.object_id] = found.value
        return objects


def _nobody_asks(_task_id: TaskId, _before: Tree | None) -> None:
    """Until somebody does."""


def _shows(tree: Tree, object_id: ObjectId) -> bool:
    return any(entry.content.object_id == object_id for entry in tree.values())
