"""Tasks: attach, run, detach. Rule: a task's record is there before its tree is, and goes after its tree has
gone.

Whatever ends in between, the next start of control finds a record and finishes the job.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

import trio

from secretfs.control import log
from secretfs.control.audit import Caller
from secretfs.control.ports import FileSystem, Mounts
from secretfs.control.records.codec import encode
from secretfs.control.records.lookup import Found, by_id, every, find
from secretfs.control.records.objects import OBJECTS
from secretfs.control.records.services import SERVICES
from secretfs.control.records.tasks import TASKS
from secretfs.control.trees import Trees
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.control.usecases.grants import requested, with_numbers
from secretfs.control.usecases.refs import task_uses
from secretfs.control.usecases.rights import Rights, check_adhoc, check_quota, rights_of, service_for
from secretfs.core.grant import Grant, GrantRequest, check_attachable, check_conflicts
from secretfs.core.names import Kind, ObjectId, ObjectName, ServiceId, TaskId
from secretfs.core.plan import Entry, Tree
from secretfs.core.service import Service
from secretfs.core.task import Leader, Task, TaskEvent, TaskState, next_state, seen_in
from secretfs.core.versions import Held
from secretfs.errors import CorruptRecordError, InvalidGrantError, NotFoundError, SecretfsError
from secretfs.store.base import Del, Guard, Put
from secretfs.store.turn import Turn

DETACHES_AT_ONCE: Final = 32  # of one service, or of all
_REASON_CHARS: Final = 256  # of what somebody may have made up


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """What a process asks for when it wants to become a task."""

    service: str | None
    grants: tuple[GrantRequest, ...]
    target_dir: str
    until_leader: bool = False
    mounted: bool = False  # by ``secretfs mount``: the leader alone is the task


@dataclass(frozen=True, slots=True)
class Attached:
    """A task whose tree is there, and the name of the object behind each of its files."""

    task: Task
    tree: Tree
    names: Mapping[tuple[Kind, str], ObjectName]


@dataclass(frozen=True, slots=True)
class Shown:
    """A task and the files it shows, each with the grant it comes from."""

    task: Task
    files: tuple[tuple[Grant, Entry], ...]
    lacking: int = 0  # files that wait for the store to be unlocked


class Tasks:
    """The use cases of tasks."""

    def __init__(
        self,
        commits: Commits,
        trees: Trees,
        fs: FileSystem,
        mounts: Mounts,
        *,
        check_unlocked: Callable[[], None] = lambda: None,
        attached: Callable[[TaskId, str], None] = lambda _task, _service: None,
    ) -> None:
        """``check_unlocked`` raises LockedError while nothing new may be shown. ``attached`` is called with each task
        that begins and the name of its service, before it can open anything.
        """
        self._attached = attached
        self._check_unlocked = check_unlocked
        self._commits = commits
        self._store = commits.store
        self._trees = trees
        self._fs = fs
        self._mounts = mounts
        self._turns: WeakValueDictionary[TaskId, Turn] = WeakValueDictionary()  # of those that are being ended

    async def attach(
        self, caller: Caller, request: AttachRequest, leader: Leader, rights: Rights | None = None
    ) -> Attached:
        """Begin a task: its record and its tree are there when this returns; nothing of it is there when it
        raises. Without rights, the caller's uid alone says what it may.

        Raises: PermissionDeniedError, InvalidGrantError, NotFoundError, AmbiguousError, CorruptRecordError,
        ArenaFullError, UnsealError, LockedError, UnavailableError.
        """
        self._check_unlocked()
        task_id = TaskId(self._commits.new_id())
        rights = rights or rights_of(caller)
        check_adhoc(caller, rights, request.grants)
        if caller.uid != 0 or rights.only is not None:  # before its turn: who is refused must not delay root's commits
            await self._service_for(caller, rights, request)
        request = replace(request, grants=await with_numbers(request.grants))
        task, grants = await self._commits.change(caller, lambda: self._begun(task_id, caller, rights, request, leader))
        self._attached(task_id, task.service_name)
        try:
            tree = await self._trees.show(self._fs, task_id)
        except SecretfsError as exc:
            await self.detach(task_id, str(exc), caller=caller)
            raise
        return Attached(task, tree, {(grant.kind, grant.target): grant.object_name for grant in grants})

    async def refused(self, caller: Caller, service: str, reason: str, *, more: int = 0) -> None:
        """Keep in the audit that a task was refused, and how many more were of which nothing is kept.

        Raises: StoreError.
        """

        async def decide() -> Change[None]:
            detail: dict[str, object] = {"Reason": reason[:_REASON_CHARS], **({"More": more} if more else {})}
            return Change((), (), Act("task refused", "task", "", service[:_REASON_CHARS], detail), None)

        await self._commits.change(caller, decide)

    async def running(self, task_id: TaskId, mnt_ns: int | None) -> None:
        """Its program is about to start, in this mount namespace (None: not in one of its own). Raises:
        NotFoundError, PreconditionError.
        """

        async def decide() -> Change[None]:
            found = await self._get(task_id)
            task = found.value
            assert task.leader is not None
            state = next_state(task.state, TaskEvent.STARTED)
            told = seen_in(self._trees.shown().get(task_id, {}))
            new = replace(task, state=state, leader=replace(task.leader, mnt_ns=mnt_ns), told=told)
            key = TASKS.key(task_id)
            return Change((Guard(key, found.rev),), (Put(key, encode(new)),), _act("start", new), None)

        await self._commits.change(_owner(await self._get(task_id)), decide)

    async def detach(
        self, task_id: TaskId, reason: str, *, event: TaskEvent | None = None, caller: Caller | None = None
    ) -> bool:
        """End a task: its tree is flushed, then its record removed. Whether it was there, and nobody was quicker.

        Raises: StoreError, UnavailableError, when the record could not be removed, or a mount may be left; the tree
        is flushed even so.
        """
        async with self._turns.setdefault(task_id, Turn()):
            await self._trees.end(self._fs, task_id)
            await self._unmounted(task_id)
            who = caller or Caller(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())
            there = True
            try:
                await self._commits.change(who, lambda: self._gone(task_id, reason, event))
            except NotFoundError:
                there = False
            self._trees.forget(task_id)
            return there

    async def detach_service(self, service_id: ServiceId, caller: Caller) -> None:
        """End all tasks of a service that was removed. Raises: StoreError, when all trees are flushed even
        so.
        """
        await self._detach_each(await self.of_service(service_id), "its service was removed", caller)

    async def detach_all(self, reason: str, caller: Caller) -> None:
        """End all tasks. Raises: StoreError, UnavailableError, when all trees are flushed even so, also those of tasks
        whose records cannot be read.
        """
        await self._trees.end_all(self._fs)
        await self._detach_each([found.value for found in await self.listed()], reason, caller)

    async def _detach_each(self, tasks: Sequence[Task], reason: str, caller: Caller) -> None:
        failures: list[SecretfsError] = []
        places = trio.CapacityLimiter(DETACHES_AT_ONCE)

        async def detach(task: Task) -> None:
            async with places:
                try:
                    await self.detach(task.id, reason, caller=caller)
                except SecretfsError as exc:
                    failures.append(exc)

        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(detach, task)
        if failures:
            raise failures[0]

    async def _unmounted(self, task_id: TaskId) -> None:
        """A tree that was mounted somewhere is taken away from there, while the task's record still tells of it."""
        try:
            found = await by_id(self._store, TASKS, task_id)
        except CorruptRecordError:
            return
        if found is not None and found.value.mounted and (left := await self._mounts.drop_mounts(task_id)):
            log.warning("an empty tree stays mounted", task=task_id, mounts=left)

    async def find(self, reference: str) -> Task:
        """The task of that id or unique prefix. Raises: NotFoundError, AmbiguousError, CorruptRecordError."""
        return (await find(self._store, TASKS, reference)).value

    async def listed(self) -> list[Found[Task]]:
        """All tasks, oldest first."""
        return sorted(await every(self._store, TASKS), key=lambda found: (found.value.since_ns, found.value.id))

    async def of_service(self, service_id: ServiceId) -> list[Task]:
        """The tasks of one service."""
        return [found.value for found in await self.listed() if found.value.service_id == service_id]

    def concerned(self, object_id: ObjectId) -> list[TaskId]:
        """The tasks that a change of the object may be news to."""
        return self._trees.concerned(object_id)

    def showing(self, service_id: ServiceId) -> list[TaskId]:
        """The tasks that a change of the service may be news to."""
        return self._trees.of_service(service_id)

    def held(self, object_id: ObjectId) -> list[Held]:
        """Which tasks hold which versions of the object."""
        return self._trees.held(object_id)

    async def shown(self) -> list[Shown]:
        """All tasks with the files they show; one that fs has not brought up to date shows what it showed before."""
        services = {found.value.id: found.value for found in await every(self._store, SERVICES)}
        trees = self._trees.shown()
        return [
            Shown(task, _files(task, services, trees.get(task.id, {})), self._trees.lacking(task.id))
            for task in [found.value for found in await self.listed()]
        ]

    async def refresh(self, task_id: TaskId) -> None:
        """Bring a task's tree to what the store says. Raises: UnavailableError, ArenaFullError,
        UnsealError.
        """
        await self._trees.show(self._fs, task_id)

    async def _begun(
        self, task_id: TaskId, caller: Caller, rights: Rights, request: AttachRequest, leader: Leader
    ) -> Change[tuple[Task, Sequence[Grant]]]:
        service = await self._service_for(caller, rights, request)
        if service is None and not request.grants:
            raise InvalidGrantError("nothing is granted: give --service NAME or --secret NAME")
        adhoc = await requested(self._store, request.grants)
        grants = (*(service.value.grants if service else ()), *adhoc.grants)
        check_attachable(grants)
        check_conflicts(grants)
        await self._check_objects(grants)
        task = self._task(task_id, caller, request, leader, adhoc.grants, service)
        guards, ops = await task_uses(self._store, task_id, adhoc.objects, begin=True)
        guards += [*adhoc.guards, Guard(TASKS.key(task_id), 0)]
        if service is not None:
            guards.append(Guard(SERVICES.key(service.value.id), service.rev))
        return Change(guards, [*ops, Put(TASKS.key(task_id), encode(task))], _act("attach", task), (task, grants))

    async def _service_for(self, caller: Caller, rights: Rights, request: AttachRequest) -> Found[Service] | None:
        service = await service_for(self._store, caller, rights, request.service)
        await check_quota(self._store, caller, rights, service)
        return service

    def _task(
        self,
        task_id: TaskId,
        caller: Caller,
        request: AttachRequest,
        leader: Leader,
        adhoc: tuple[Grant, ...],
        service: Found[Service] | None,
    ) -> Task:
        return Task(
            id=task_id,
            service_id=service.value.id if service else None,
            service_name=service.value.name if service else "",
            grants=adhoc,
            leader=leader,
            target_dir=request.target_dir,
            uid=caller.uid,
            since_ns=self._commits.now_ns(),
            until_leader=request.until_leader or request.mounted,
            mounted=request.mounted,
            labels=service.value.labels if service else {},
        )

    async def _check_objects(self, grants: Sequence[Grant]) -> None:
        """A task starts with all of its grants or not at all."""
        for grant in grants:
            found = await by_id(self._store, OBJECTS[grant.kind], grant.object_id)
            if found is None:
                raise InvalidGrantError(f"{grant.kind.value} not found: {grant.object_name}")
            if grant.version is not None:
                found.value.version(grant.version)

    async def _gone(self, task_id: TaskId, reason: str, event: TaskEvent | None) -> Change[None]:
        found = await self._get(task_id)
        task = found.value
        never_started = task.state is TaskState.STARTING
        state = next_state(task.state, event or (TaskEvent.FAILED if never_started else TaskEvent.DETACHED))
        used = [grant.object_id for grant in task.grants]
        guards, ops = await task_uses(self._store, task_id, used, begin=False)
        key = TASKS.key(task_id)
        act = _act("detach", replace(task, state=state), Reason=reason)
        return Change([*guards, Guard(key, found.rev)], [*ops, Del(key)], act, None)

    async def _get(self, task_id: TaskId) -> Found[Task]:
        found = await by_id(self._store, TASKS, task_id)
        if found is None:
            raise NotFoundError(f"task {task_id} not found")
        return found


def _owner(found: Found[Task]) -> Caller:
    leader = found.value.leader
    return Caller(uid=found.value.uid, gid=0, pid=leader.pid if leader else 0)


def _act(verb: str, task: Task, **detail: object) -> Act:
    secrets = {"Secrets": [grant.object_name for grant in task.grants]} if task.grants else {}
    pid = task.leader.pid if task.leader else 0
    known: dict[str, object] = {"State": task.state.value, "PID": pid}
    return Act(f"task {verb}", "task", task.id, task.service_name, known | secrets | detail)


def _files(task: Task, services: Mapping[ServiceId, Service], tree: Tree) -> tuple[tuple[Grant, Entry], ...]:
    service = services.get(task.service_id) if task.service_id else None
    grants = (*(service.grants if service else ()), *task.grants)
    pairs = ((grant, tree.get((grant.kind, grant.target))) for grant in grants)
    return tuple(
        (grant, entry) for grant, entry in pairs if entry is not None and entry.content.object_id == grant.object_id
    )
