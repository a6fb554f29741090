"""Tasks are told of changes: whoever watches a file at once (``touching.py``), the program as its service says, when a
burst is over. Rule: after fs shows the new bytes, once for all that came together, not for equal bytes; and the last
change is always followed by it.

What a task has been told of is in its record: a control that is killed in between leaves its successor something to
compare with, which then tells it (and, were it killed after the act, tells it again).
"""

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

import trio

from secretfs.control import log, processes
from secretfs.control.audit import Caller
from secretfs.control.ports import FileSystem, Telling
from secretfs.control.records.codec import encode
from secretfs.control.records.lookup import Found, by_id, every
from secretfs.control.records.services import SERVICES
from secretfs.control.records.tasks import TASKS
from secretfs.control.touching import Touches
from secretfs.control.trees import Trees
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.control.values import Values
from secretfs.core.names import Kind, TaskId
from secretfs.core.onchange import Command, OnChange, Signal, parse_on_change
from secretfs.core.plan import Tree, VersionRef
from secretfs.core.task import Leader, Task, TaskState, seen_in
from secretfs.crypto.envelope import wipe
from secretfs.errors import CorruptRecordError, InvalidArgumentError, LockedError, NotFoundError, SecretfsError
from secretfs.store.base import Guard, Put

BURST_SECONDS: Final = 0.15  # without a change: then a burst is over
MAX_DELAY_SECONDS: Final = 1.0  # of one that does not end
RETRY_SECONDS: Final = 1.0
MAX_CHANGED_BYTES: Final = 4096  # of the targets; more than that are not named

T = TypeVar("T")
Contents = Mapping[tuple[Kind, str], VersionRef]


@dataclass(frozen=True, slots=True)
class _Heard:
    """The tree that a task knows of now, and what the audit says of how it was told, if it was."""

    tree: Tree
    detail: dict[str, object] | None


class Tellings:
    """Who is to be told of what. ``changed`` may be called at any time; ``run`` does the rest."""

    def __init__(self, commits: Commits, trees: Trees, values: Values, fs: FileSystem, host: Telling) -> None:
        self._commits = commits
        self._store = commits.store
        self._trees = trees
        self._values = values
        self._fs = fs
        self._host = host
        self._touches = Touches(trees, host)
        self._told: dict[TaskId, Contents] = {}
        self._news: dict[TaskId, trio.Event] = {}  # of the tasks that are being told
        self._send, self._receive = trio.open_memory_channel[TaskId](float("inf"))

    def changed(self, task_id: TaskId, before: Tree | None) -> None:
        """Fs shows the task's tree as it should be now; before it was this one, or nobody knows which."""
        self._touches.changed(task_id, before or {})
        if before is not None:
            self._told.setdefault(task_id, _contents(before))
        if task_id in self._news:
            self._news[task_id].set()
        else:
            self._news[task_id] = trio.Event()
            self._send.send_nowait(task_id)

    async def run(self) -> None:
        """Tell, until cancelled; first those that a control before this one did not come to tell."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._touches.run)
            nursery.start_soon(self._take_up)
            async for task_id in self._receive:
                nursery.start_soon(self._tell_of_all, task_id)

    async def _take_up(self) -> None:
        for found in await every(self._store, TASKS):
            try:
                await self._taken_up(found.value)
            except LockedError:
                continue  # it is told when the unlock has shown it
            except SecretfsError as exc:
                log.error(
                    "a task is not told yet of what changed before the start", task=found.value.id, error=str(exc)
                )

    async def _taken_up(self, task: Task) -> None:
        """Raises: as Trees.show; then it is told as soon as the tree is shown after all."""
        if task.told is None or await self._on_change(task) is None or task.id in self._told:
            return
        tree = self._trees.shown().get(task.id)
        if tree is None:
            return
        told = self._told[task.id] = _told(task)
        if told != _contents(tree) and not self._trees.lacking(task.id):
            await self._trees.confirm(self._fs, task.id)

    async def _tell_of_all(self, task_id: TaskId) -> None:
        """One task at a time gets one worker: it is never told twice at once."""
        try:
            while True:
                await self._burst(task_id)
                if (told := await self._done(task_id, partial(self._tell, task_id))) is not None:
                    await self._done(task_id, partial(self._keep, task_id, told))
                if not self._news[task_id].is_set():
                    return
                self._news[task_id] = trio.Event()
        finally:
            del self._news[task_id]
            for gone in self._told.keys() - self._trees.shown().keys() - self._news.keys():
                del self._told[gone]

    async def _burst(self, task_id: TaskId) -> None:
        """Wait until no change comes any more."""
        with trio.move_on_after(MAX_DELAY_SECONDS):
            while True:
                with trio.move_on_after(BURST_SECONDS) as quiet:
                    await self._news[task_id].wait()
                if quiet.cancelled_caught:
                    return
                self._news[task_id] = trio.Event()

    async def _done(self, task_id: TaskId, act: Callable[[], Awaitable[T]]) -> T:
        """What it gives, as soon as it does not fail."""
        while True:
            try:
                return await act()
            except SecretfsError as exc:
                log.error("a task was not told of a change, trying again", task=task_id, error=str(exc))
                await trio.sleep(RETRY_SECONDS)

    async def _tell(self, task_id: TaskId) -> _Heard | None:
        """What it was told of, if it can be; this control does not tell it that again, whether it is kept or not."""
        found = await by_id(self._store, TASKS, task_id)
        tree = self._trees.shown().get(task_id)
        if found is None or tree is None or self._trees.lacking(task_id):
            return None
        task, now, heard = found.value, _contents(tree), None
        on_change = await self._on_change(task)
        if on_change is not None and task.leader is not None:
            told = self._told.get(task_id, now if task.told is None else _told(task))
            changed = await self._difference(told, now)
            detail = await self._act(task, task.leader, on_change, changed) if changed else None
            heard = _Heard(tree, detail)
        self._told[task_id] = now
        return heard

    async def _act(self, task: Task, leader: Leader, on_change: OnChange, changed: list[str]) -> dict[str, object]:
        """What the audit says of it."""
        result: dict[str, object] = {"Targets": changed}
        pidfd = processes.leader_pidfd(leader)
        if pidfd is None:
            return result | {"Error": "its first process has ended"}
        try:
            match on_change:
                case Signal(number):
                    await self._host.signal(task.id, leader.mnt_ns or 0, pidfd, number)
                    result["Signal"] = number
                case Command(text):
                    words = (task.service_name, _lines(changed), text)
                    result["Code"] = await self._host.command(task.id, leader.mnt_ns or 0, pidfd, words)
        except NotFoundError as exc:
            result["Error"] = str(exc)
        finally:
            os.close(pidfd)
        said = {key.lower(): value for key, value in result.items()}
        log.info("task told of a change", task=task.id, service=task.service_name, **said)
        return result

    async def _on_change(self, task: Task) -> OnChange | None:
        """What is to be done for it. What has not started, or mounted its tree somewhere, has no program of its own."""
        if task.service_id is None or task.mounted or task.state is not TaskState.RUNNING:
            return None
        try:
            service = await by_id(self._store, SERVICES, task.service_id)
            return parse_on_change(service.value.extras.on_change) if service else None
        except (CorruptRecordError, InvalidArgumentError) as exc:
            log.error("a service says what cannot be done", service=task.service_name, error=str(exc))
            return None

    async def _difference(self, before: Contents, now: Contents) -> list[str]:
        """Targets that came, went, or have other bytes."""
        keys = sorted(before.keys() | now.keys(), key=lambda key: (key[0].value, key[1]))
        return [key[1] for key in keys if not await self._same(before.get(key), now.get(key))]

    async def _same(self, one: VersionRef | None, other: VersionRef | None) -> bool:
        if one is None or other is None or one == other:
            return one == other
        values: list[bytearray] = []
        try:
            values.append(await self._values.opened(one))
            values.append(await self._values.opened(other))
            return hmac.compare_digest(*values)
        except SecretfsError:  # pruned, or removed: it was another
            return False
        finally:
            for value in values:
                wipe(value)

    async def _keep(self, task_id: TaskId, heard: _Heard) -> None:
        """Write down what the task has been told of; with a record in the audit, if it was told."""
        seen, detail = seen_in(heard.tree), heard.detail

        async def decide() -> Change[None]:
            found = await self._task(task_id)
            key, new = TASKS.key(task_id), encode(replace(found.value, told=seen))
            act = Act("task told", "task", task_id, found.value.service_name, detail or {})
            return Change((Guard(key, found.rev),), (Put(key, new),), act, None)

        try:
            if detail is not None or (await self._task(task_id)).value.told != seen:
                await self._commits.change(Caller(uid=os.getuid(), gid=os.getgid(), pid=os.getpid()), decide)
        except NotFoundError:
            return  # it has ended meanwhile

    async def _task(self, task_id: TaskId) -> Found[Task]:
        found = await by_id(self._store, TASKS, task_id)
        if found is None:
            raise NotFoundError(f"task {task_id} not found")
        return found


def _contents(tree: Tree) -> Contents:
    return {key: entry.content for key, entry in tree.items()}


def _told(task: Task) -> Contents:
    """What the task has been told of, as its record has it."""
    return {(seen.kind, seen.target): VersionRef(seen.object_id, seen.version) for seen in task.told or ()}


def _lines(targets: list[str]) -> str:
    """A line each; nothing when they are too many."""
    text = "\n".join(targets)
    return text if len(text.encode("utf-8", "surrogateescape")) <= MAX_CHANGED_BYTES else ""
