"""Opens on their way from the ring into the audit. Rule: a slot is free when what it says is stored, and not before.

fs writes each open into the ring before it answers it (``link/ring.py``). Here it gets its names and its program, while
they can still be found, and is stored in batches, those that differ in nothing but their time as one record: the head
of the chain, in the same commit, says how far the ring was read, so none is stored twice or left out, whenever this
process is killed. While the store takes nothing, the ring fills; what does not fit is counted by fs, and that is a
record as well.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from secretfs.control import log
from secretfs.control.audit import AuditRecord, newest
from secretfs.control.records.lookup import by_id
from secretfs.control.records.objects import OBJECTS
from secretfs.control.records.tasks import TASKS
from secretfs.control.usecases.commits import Commits
from secretfs.core.names import Kind, ObjectId, TaskId
from secretfs.errors import CorruptRecordError, SecretfsError
from secretfs.link import ring
from secretfs.link.ring import Gathered, Subject

K = TypeVar("K")
V = TypeVar("V")
GATHER_SECONDS: Final = 0.05  # more opens may come and share a commit
FIRST_PAUSE_SECONDS: Final = 0.001  # between two looks while they come, and twice as long each time
RETRY_SECONDS: Final = 1.0  # while the store takes nothing
TRIM_SECONDS: Final = 600.0  # between looks at the age of the audit
LAST_PAUSE_SECONDS: Final = 0.016  # a process that has ended has no name any more
CROWD: Final = 20  # so many within GATHER_SECONDS, and the next ones share the commit as well
CROWD_SECONDS: Final = 0.25
MOST: Final = 4096  # slots that go into one row
_KINDS: Final = tuple(Kind)
_MOST_NAMES: Final = 4096  # of tasks that are remembered: one may end before its opens are read
_MAX_STATUS_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class _Named:
    """What is the same in the record of each open of a subject."""

    kind: str
    name: str
    detail: Mapping[str, object]


class Opens:
    """The reading end."""

    def __init__(self, fd: int, event_fd: int, commits: Commits) -> None:
        """``fd``, ``event_fd``: of the ring and of what wakes us; they become this object's."""
        for inherited in (fd, event_fd):
            os.set_inheritable(inherited, False)
        self._memory = mmap(fd, ring.RING_BYTES)
        self._ring = memoryview(self._memory)
        self._words = self._ring[: ring.HEADER_BYTES].cast("Q")
        first = ring.ID_WORD * 8
        self._id = bytes(self._ring[first : first + ring.ID_BYTES])
        self._event_fd = event_fd
        self._commits = commits
        self._services: dict[str, str] = {}
        self._subjects: dict[Subject, _Named] = {}
        self._processes: dict[int, tuple[int, str]] = {}  # of this batch, by thread

    def attached(self, task: TaskId, service: str) -> None:
        """A task has begun: it may have ended before its opens are read."""
        _remember(self._services, task, service)

    async def run(self) -> None:
        """Store what comes, until cancelled."""
        complained = False
        await self._commits.prepared()
        while True:
            await self._some()
            try:
                await self._stored(await self._batch())
                complained = False
            except SecretfsError as exc:
                if not complained:
                    log.error("opens are not in the audit yet, trying again", error=str(exc))
                complained = True
                await trio.sleep(RETRY_SECONDS)

    async def rest(self) -> None:
        """Store what is there, once. Raises: StoreError."""
        while not self._nothing():
            await self._stored(await self._batch())

    async def _some(self) -> None:
        """Wait until there is something. fs wakes us when it has seen that we wait."""
        while self._nothing():
            await self._woken(self._slot())

    async def _woken(self, slot: int) -> None:
        """Sleep until fs has recorded something in this slot, or has lost something."""
        if self._words[ring.HEAD] != slot:
            return
        self._words[ring.WAITING] = 1
        if self._words[ring.HEAD] == slot and self._words[ring.LOST] == self._lost():  # else it came before it was seen
            await trio.lowlevel.wait_readable(self._event_fd)
            os.eventfd_read(self._event_fd)

    def _nothing(self) -> bool:
        return self._words[ring.HEAD] == self._slot() and self._words[ring.LOST] == self._lost()

    def _slot(self) -> int:
        """The slot that is to be read next: one ring's, a new one begins with 0."""
        head = self._commits.chain.head
        return head.slot if head.ring == self._id else 0

    def _lost(self) -> int:
        head = self._commits.chain.head
        return head.lost if head.ring == self._id else 0

    async def _batch(self) -> tuple[list[AuditRecord], int, int]:
        """Records, and the slot and the number of lost ones that they go up to. Names are looked for soon: at once for
        the first that come, later and later for those of a crowd, since a process that is woken for each open takes
        the processor from who opens.
        """
        times: Gathered = {}
        found: list[AuditRecord] = []  # one for each of ``times``
        self._processes.clear()
        first = slot = self._slot()
        began, pause = trio.current_time(), FIRST_PAUSE_SECONDS
        while True:
            slot = self._read(slot, first + MOST, times)
            found += [await self._record(times[same][0], same) for same in list(times)[len(found) :]]
            if slot >= first + MOST:
                break
            until = began + (GATHER_SECONDS if slot < first + CROWD else CROWD_SECONDS)
            with trio.move_on_at(until) as scope:
                await trio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
                await self._woken(slot)
            if scope.cancelled_caught or trio.current_time() >= until:
                break
        records = [_with_all(record, acts) for record, acts in zip(found, times.values(), strict=True)]
        lost = self._words[ring.LOST]
        if lost != self._lost():
            detail = {"Opens": lost - self._lost()}
            records.append(AuditRecord(self._words[ring.LOST_AT], "opens lost", "task", "", "", 0, 0, detail))
        return records, slot, lost

    def _read(self, slot: int, end: int, times: Gathered) -> int:
        """Gather what is there from this slot on, up to ``end``; the slot that comes next."""
        after, left_out = ring.gather(self._ring, slot, self._words[ring.HEAD], times, end=end)
        if left_out:
            log.error("opens could not be read from the ring", count=left_out)
        return after

    async def _stored(self, batch: tuple[list[AuditRecord], int, int]) -> None:
        records, slot, lost = batch
        if records:
            await self._commits.keep(records, ring=self._id, slot=slot, lost=lost)
        self._words[ring.TAIL] = slot

    async def _record(self, time_ns: int, same: bytes) -> AuditRecord:
        opened = ring.opened(same)
        named = self._subjects.get(opened.subject) or await self._named(opened.subject)
        thread = opened.thread
        pid, program = self._processes.get(thread) or self._processes.setdefault(thread, _process(thread))
        detail = {**named.detail, "GID": opened.gid, "Program": program}
        if opened.repeated:
            detail["Repeated"] = True
        object_id = opened.subject.object_id
        return AuditRecord(time_ns, "open", named.kind, object_id, named.name, opened.uid, pid, detail)

    async def _named(self, subject: Subject) -> _Named:
        kind = _KINDS[subject.kind]
        detail: dict[str, object] = {
            "Service": await self._service(subject.task),
            "Task": subject.task,
            "Target": subject.target,
            "Version": subject.version,
        }
        named = _Named(kind.value, await self._object(kind, ObjectId(subject.object_id)), detail)
        _remember(self._subjects, subject, named)
        return named

    async def _service(self, task: str) -> str:
        name = self._services.get(task)
        if name is None:
            try:
                found = await by_id(self._commits.store, TASKS, TaskId(task))
            except CorruptRecordError:
                found = None
            name = found.value.service_name if found else await self._ended(task)
            _remember(self._services, task, name)
        return name

    async def _ended(self, task: str) -> str:
        """The service of a task whose record is gone: the audit has a record of that, after the task's last open."""
        found = await newest(self._commits.store, self._commits.chain.head.next, "task", task)
        return found.name if found else ""

    async def _object(self, kind: Kind, object_id: ObjectId) -> str:
        try:
            found = await by_id(self._commits.store, OBJECTS[kind], object_id)
        except CorruptRecordError:
            found = None
        return found.value.name if found else ""


async def audited(commits: Commits, opens: Opens | None) -> None:
    """Store opens, and keep the audit to its size and age, until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_trim, commits)
        if opens is not None:
            nursery.start_soon(opens.run)


async def _trim(commits: Commits) -> None:
    while True:
        try:
            while await commits.trim():
                await trio.lowlevel.checkpoint()
        except SecretfsError as exc:
            log.error("the audit cannot be shortened", error=str(exc))
        with trio.move_on_after(TRIM_SECONDS):
            await commits.chain.too_much.wait()
        commits.chain.too_much = trio.Event()


def _with_all(record: AuditRecord, times: Sequence[int]) -> AuditRecord:
    """All opens that were the same, in one record."""
    first, *later = times
    return msgspec.structs.replace(record, again=[time_ns - first for time_ns in later]) if later else record


def _process(thread: int) -> tuple[int, str]:
    """The process of a thread and what it calls itself; the thread and nothing when it has ended, or is outside of our
    pid namespace (0).
    """
    if not thread:
        return 0, ""
    try:
        with Path(f"/proc/{thread}/status").open("rb") as file:
            lines = file.read(_MAX_STATUS_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return thread, ""
    fields = dict(line.partition(":\t")[::2] for line in lines)
    pid = fields.get("Tgid", "")
    return int(pid) if pid.isdecimal() else thread, fields.get("Name", "")


def _remember(names: dict[K, V], key: K, value: V) -> None:
    if len(names) >= _MOST_NAMES:
        names.clear()
    names[key] = value
