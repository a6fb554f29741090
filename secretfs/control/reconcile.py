"""The life of running tasks. Rule: a task ends when its last process has ended, and its tree is flushed at
once.

The leader's pidfd, then those of all others that have its tree, looked for again until two scans in a row
find nobody: a process that forks while it is looked for is in the second. No damaged record, full disk or
absent peer ends this: it is said and tried again.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from secretfs.control import log, processes
from secretfs.control.ports import FileSystem, Processes
from secretfs.control.records.codec import decode, everything
from secretfs.control.records.lookup import by_id
from secretfs.control.records.services import SERVICES
from secretfs.control.records.tasks import TASKS
from secretfs.control.trees import Trees
from secretfs.control.usecases.tasks import Tasks
from secretfs.core.names import TaskId
from secretfs.core.task import Task, TaskEvent, TaskState
from secretfs.errors import CorruptRecordError, SecretfsError
from secretfs.linux import process
from secretfs.store.base import Changes, Item, Store

EMPTY_SCANS: Final = 2
RETRY_SECONDS: Final = 1.0
LOG_SECONDS: Final = 60.0  # between two lines about the same failure
_PREFIX: Final = TASKS.key("")


class Reconciler:
    """Follows every task, from its attach on, until it has ended."""

    def __init__(self, store: Store, tasks: Tasks, trees: Trees, fs: FileSystem, host: Processes) -> None:
        self._store = store
        self._tasks = tasks
        self._trees = trees
        self._fs = fs
        self._host = host
        self._followed: dict[TaskId, trio.CancelScope] = {}
        self._known: dict[TaskId, Task] = {}  # as they were last seen

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take up the tasks of the store, end those that are gone, then follow what begins, until
        cancelled.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._trees.keep_up, self._fs)
            rev = await self._take_up(nursery)
            task_status.started()
            while True:
                rev = await self._next(rev, nursery)

    async def _take_up(self, nursery: trio.Nursery) -> int:
        listing = await everything(self._store, _PREFIX)
        for task in filter(None, map(_task_of, listing.items)):
            if task.state is TaskState.STARTING:
                nursery.start_soon(self._until_done, task.id, self._ending(task, "control was restarted"))
            elif not await self._has_service(task):
                nursery.start_soon(self._until_done, task.id, self._ending(task, "its service was removed"))
            else:
                self._follow(task, nursery)
        return listing.rev

    async def _next(self, rev: int, nursery: trio.Nursery) -> int:
        """Wait for changes of tasks: follow those that are new, let go of those that are gone."""
        try:
            changes = await self._store.watch(_PREFIX, rev)
            if not isinstance(changes, Changes):
                return await self._compacted(nursery)
        except SecretfsError as exc:
            log.error("the store does not say what changes", error=str(exc))
            await trio.sleep(RETRY_SECONDS)
            return rev
        for key, item in changes.changes:
            self._changed(TaskId(key.removeprefix(_PREFIX)), item, nursery)
        return changes.rev

    async def _compacted(self, nursery: trio.Nursery) -> int:
        listing = await everything(self._store, _PREFIX)
        for item in listing.items:
            self._changed(TaskId(item.key.removeprefix(_PREFIX)), item, nursery)
        return listing.rev

    def _changed(self, task_id: TaskId, item: Item | None, nursery: trio.Nursery) -> None:
        if item is None:
            if scope := self._followed.get(task_id):
                scope.cancel()
            return
        if task := _task_of(item):
            self._follow(task, nursery)

    def _follow(self, task: Task, nursery: trio.Nursery) -> None:
        self._known[task.id] = task
        if task.id not in self._followed:
            self._followed[task.id] = trio.CancelScope()
            nursery.start_soon(self._followed_to_its_end, task)

    async def _followed_to_its_end(self, task: Task) -> None:
        scope = self._followed[task.id]
        try:
            with scope:
                await self._until_done(task.id, lambda: self._last_process(task))
            if not scope.cancelled_caught:
                await self._until_done(task.id, lambda: self._end(task))
        finally:
            del self._followed[task.id], self._known[task.id]

    async def _end(self, task: Task) -> None:
        if (await self._newest(task)).state is TaskState.STARTING:
            await self._tasks.detach(task.id, "its program was not started")
        else:
            await self._tasks.detach(task.id, "its last process ended", event=TaskEvent.ENDED)

    async def _newest(self, task: Task) -> Task:
        """The task as it is in the store, or as it was last seen there."""
        try:
            found = await by_id(self._store, TASKS, task.id)
        except CorruptRecordError:
            found = None
        return found.value if found else self._known[task.id]

    async def _last_process(self, task: Task) -> None:
        """Wait until nobody is left of the task. One without a leader ends when somebody detaches it."""
        if task.leader is None:
            await trio.sleep_forever()
        pidfd = processes.leader_pidfd(task.leader)
        if pidfd is not None:
            await processes.ended_and_closed(pidfd)
        leader = (await self._newest(task)).leader  # it may have started since it was taken up
        if task.until_leader or leader is None or leader.mnt_ns is None or leader.boot_id != process.boot_id():
            return
        empty = 0
        while empty < EMPTY_SCANS:
            async with processes.members(self._host, task.id, leader.mnt_ns) as pidfds:
                empty = 0 if pidfds else empty + 1
                await processes.ended(pidfds)

    def _ending(self, task: Task, reason: str, event: TaskEvent | None = None) -> Callable[[], Awaitable[object]]:
        return lambda: self._tasks.detach(task.id, reason, event=event)

    async def _until_done(self, task_id: TaskId, act: Callable[[], Awaitable[object]]) -> None:
        """Try until it is done; said at once, and again after every minute of it."""
        silent_until = -math.inf
        while True:
            try:
                await act()
                return
            except SecretfsError as exc:
                if trio.current_time() >= silent_until:
                    log.error("a task cannot be followed or ended, trying again", task=task_id, error=str(exc))
                    silent_until = trio.current_time() + LOG_SECONDS
                await trio.sleep(RETRY_SECONDS)

    async def _has_service(self, task: Task) -> bool:
        if task.service_id is None:
            return True
        try:
            return await by_id(self._store, SERVICES, task.service_id) is not None
        except CorruptRecordError:
            return True


def _task_of(item: Item) -> Task | None:
    try:
        return decode(item, TASKS.type)
    except CorruptRecordError:
        log.error("a record is damaged", key=item.key)
        return None
