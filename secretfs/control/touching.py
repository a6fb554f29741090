"""Who watches a file hears of its change. Rule: at once, whatever the task itself is being told meanwhile."""

import os

import trio

from secretfs.control import log
from secretfs.control.ports import Telling
from secretfs.control.trees import Trees
from secretfs.core.names import Kind, TaskId
from secretfs.core.plan import Expose, Flush, Replace, Tree, difference
from secretfs.errors import NotFoundError, SecretfsError


class Touches:
    """Which files are to be touched. ``changed`` may be called at any time; ``run`` does the rest."""

    def __init__(self, trees: Trees, host: Telling) -> None:
        self._trees = trees
        self._host = host
        self._before: dict[TaskId, Tree] = {}  # of the tasks whose last change nobody has heard of
        self._busy: set[TaskId] = set()
        self._send, self._receive = trio.open_memory_channel[TaskId](float("inf"))

    def changed(self, task_id: TaskId, before: Tree) -> None:
        """Fs shows the task's tree as it should be now; before it was this one."""
        self._before.setdefault(task_id, before)
        if task_id not in self._busy:
            self._busy.add(task_id)
            self._send.send_nowait(task_id)

    async def run(self) -> None:
        """Touch, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for task_id in self._receive:
                nursery.start_soon(self._touch_all, task_id)

    async def _touch_all(self, task_id: TaskId) -> None:
        """One task at a time gets one worker, so that what is touched is what changed last."""
        try:
            while (before := self._before.pop(task_id, None)) is not None:
                await self._touch_changed(task_id, before, self._trees.shown().get(task_id, {}))
        finally:
            self._busy.discard(task_id)

    async def _touch_changed(self, task_id: TaskId, before: Tree, now: Tree) -> None:
        directories: dict[tuple[Kind, str], None] = {}
        for effect in difference(before, now):
            match effect:
                case Replace(_, entry):
                    await self._touch(task_id, entry.kind, entry.target)
                case Expose(entry):
                    await self._touch(task_id, entry.kind, entry.target)
                    directories[entry.kind, os.path.dirname(entry.target)] = None
                case Flush(entry):
                    directories[entry.kind, os.path.dirname(entry.target)] = None
        for kind, directory in directories:
            while not await self._touch(task_id, kind, directory) and directory:
                directory = os.path.dirname(directory)  # noqa: PLW2901 - it went with its last file

    async def _touch(self, task_id: TaskId, kind: Kind, target: str) -> bool:
        try:
            await self._host.touch(task_id, kind, target)
        except NotFoundError:
            return False
        except SecretfsError as exc:
            log.warning("who watches a file was not told", task=task_id, error=str(exc))
        return True
