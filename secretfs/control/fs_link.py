"""The fs process, as control sees it: it is told what the trees are, and asks for the values that it lacks.

One change at a time, in the order they came, and none is given up half-way: a caller that does not wait any longer
leaves the words between the two in order. When fs is replaced, its successor is told all trees first; then what was
under way is said again.
"""

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Self

import trio

from secretfs.control import log
from secretfs.control.channel import next_frame, send
from secretfs.control.ports import Sealed
from secretfs.core.names import Kind, ObjectId, TaskId
from secretfs.core.plan import Entry, Tree, VersionRef
from secretfs.core.secret import DRAIN_MS
from secretfs.crypto.envelope import wipe
from secretfs.errors import (
    ArenaFullError,
    LinkError,
    LockedError,
    NotFoundError,
    SecretfsError,
    UnavailableError,
    UnsealError,
)
from secretfs.link import desired
from secretfs.link.codec import Frame
from secretfs.link.desired import Status
from secretfs.link.layout import DATA_KEY_BYTES, MAILBOX_BYTES
from secretfs.linux import memory

ANSWER_SECONDS: Final = 10.0  # for a change, also across the death of an fs
REWIRE_SECONDS: Final = 20.0  # after fs has closed its end; then control is of no use, and a new one may be
_KINDS: Final = {Kind.SECRET: 0, Kind.CONFIG: 1}
_STATUSES: Final = frozenset(map(int, Status))

Act = Callable[["_Wire"], Awaitable[None]]
Withheld = Callable[[TaskId, frozenset[VersionRef]], None]


class _Job:
    """A change that somebody waits for."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.done = trio.Event()
        self.refusal: SecretfsError | None = None


class FsLink:
    """Changes of trees, for any number of callers at once. ``run`` must be running for them to return."""

    def __init__(
        self,
        *,
        sealed: Callable[[VersionRef], Awaitable[Sealed]],
        trees: Callable[[], Mapping[TaskId, Tree]],
        synced: Callable[[], None] = lambda: None,
        refused: Callable[[TaskId], None] = lambda _: None,
        withheld: Withheld = lambda _task, _contents: None,
    ) -> None:
        """``synced`` is called when an fs has been told every tree: it may show them on a new mount; ``refused``
        before that, for each tree that it could not take; ``withheld`` when a tree lacks these versions because the
        store is locked.
        """
        self._refused = refused
        self._synced = synced
        self._withheld = withheld
        self._sealed = sealed
        self._trees = trees
        self._send_job, self._jobs = trio.open_memory_channel[_Job](float("inf"))
        self._send_wire, self._wires = trio.open_memory_channel[tuple[socket.socket, int]](float("inf"))

    def wired(self, end: socket.socket, mailbox_fd: int) -> None:
        """The supervisor has made a fresh socket and mailbox; the ones before are of no use any more."""
        self._send_wire.send_nowait((end, mailbox_fd))

    async def put_tree(self, task: TaskId, tree: Tree) -> None:
        """Make this the task's tree; returns when fs has flushed, replaced and exposed.

        Raises: ArenaFullError, UnsealError, UnavailableError.
        """
        await self._done(lambda wire: wire.put(task, tree))

    async def drop_tree(self, task: TaskId) -> None:
        """Take the tree away; returns when it is flushed and wiped. Raises: UnavailableError."""
        await self._done(lambda wire: wire.drop(task))

    async def run(self) -> None:
        """Carry out changes, for ever. Raises LinkError when fs is out of reach for good."""
        job: _Job | None = None
        while True:
            with await self._fresh_wire() as wire:
                try:
                    while True:
                        job = job or await self._next_job(wire)
                        await self._carry_out(job, wire)
                        job = None
                except LinkError as gone:
                    log.warning("fs has gone away", error=str(gone))

    async def _done(self, act: Act) -> None:
        job = _Job(act)
        self._send_job.send_nowait(job)
        with trio.move_on_after(ANSWER_SECONDS):
            await job.done.wait()
        if not job.done.is_set():
            raise UnavailableError(f"the file system did not answer within {ANSWER_SECONDS:g} s")
        if job.refusal:
            raise job.refusal

    async def _carry_out(self, job: _Job, wire: "_Wire") -> None:
        try:
            await job.act(wire)
        except LinkError:
            raise
        except SecretfsError as refusal:
            job.refusal = refusal
        job.done.set()

    async def _next_job(self, wire: "_Wire") -> _Job:
        """The next change; LinkError if fs goes away before it comes."""
        job: _Job | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await trio.lowlevel.wait_readable(wire.end)  # fs says nothing unasked: this is its end
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            job = await self._jobs.receive()
            nursery.cancel_scope.cancel()
        if job is None:
            raise LinkError("end of file")
        return job

    async def _fresh_wire(self) -> "_Wire":
        """The newest wire, once its fs has been told every tree."""
        while True:
            with trio.move_on_after(REWIRE_SECONDS):
                end, mailbox_fd = await self._wires.receive()
                while self._wires.statistics().current_buffer_used:
                    end.close()
                    os.close(mailbox_fd)
                    end, mailbox_fd = self._wires.receive_nowait()
                with contextlib.suppress(LinkError), contextlib.ExitStack() as kept:
                    wire = kept.enter_context(_Wire(end, mailbox_fd, self._sealed, self._withheld))
                    await wire.sync(self._trees(), self._refused)
                    kept.pop_all()
                    self._synced()
                    return wire
                continue
            raise LinkError(f"no fs within {REWIRE_SECONDS:g} s")


class _Wire:
    """One socket and mailbox, to one fs."""

    def __init__(
        self,
        end: socket.socket,
        mailbox_fd: int,
        sealed: Callable[[VersionRef], Awaitable[Sealed]],
        withheld: Withheld,
    ) -> None:
        self.end = end
        self._sealed = sealed
        self._withheld = withheld
        self._not_now: set[VersionRef] = set()  # of the tree that is being put
        self._ask = 0
        self._mailbox = memory.mapped(mailbox_fd, MAILBOX_BYTES)
        os.close(mailbox_fd)
        memory.keep_out_of_dumps(self._mailbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Leave nothing in the mailbox."""
        self._mailbox[:] = bytes(MAILBOX_BYTES)
        self._mailbox.close()
        self.end.close()

    async def put(self, task: TaskId, tree: Tree) -> None:
        """As FsLink.put_tree."""
        self._ask += 1
        self._not_now.clear()
        await send(self.end, desired.TreeBegin(self._ask, task))
        for entry in tree.values():
            if entry.drain_ms != DRAIN_MS:
                await send(self.end, desired.TreeDrain(entry.drain_ms))
            await send(self.end, _frame(entry))
        await send(self.end, desired.TreeEnd(self._ask))
        status = await self._status()
        if status is Status.WITHHELD:
            self._withheld(task, frozenset(self._not_now))
        _raise_for(status, task)

    async def drop(self, task: TaskId) -> None:
        """As FsLink.drop_tree."""
        self._ask += 1
        await send(self.end, desired.Drop(self._ask, task))
        _raise_for(await self._status(), task)

    async def sync(self, trees: Mapping[TaskId, Tree], refused: Callable[[TaskId], None]) -> None:
        """Bring fs to these trees and no others. What one of them lacks is said in the log, the others go on."""
        await send(self.end, desired.SyncBegin())
        for task, tree in trees.items():
            try:
                await self.put(task, tree)
            except LinkError:
                raise
            except LockedError:
                log.warning("a tree lacks what it did not have before the store was locked", task=task)
            except SecretfsError as refusal:
                log.error("a tree is not what it should be", task=task, error=str(refusal))
                refused(task)
        self._ask += 1
        await send(self.end, desired.SyncEnd(self._ask))
        await self._status()

    async def _status(self) -> Status:
        """How fs answers; until then it may ask for values."""
        while True:
            frame = await self._received()
            match frame:
                case desired.Need(_, version, object_id):
                    await self._fill(VersionRef(ObjectId(object_id), version))
                case desired.Done(self._ask, status) if status in _STATUSES:
                    return Status(status)
                case _:
                    raise LinkError(f"fs answered with {type(frame).__name__}")

    async def _fill(self, content: VersionRef) -> None:
        try:
            sealed = await self._sealed(content)
        except LockedError:
            self._not_now.add(content)
            await send(self.end, desired.NoFill(desired.NOT_NOW))
            return
        except SecretfsError as refusal:
            log.error("a value cannot be given", object=content.object_id, version=content.number, error=str(refusal))
            await send(self.end, desired.NoFill(0))
            return
        try:
            body = DATA_KEY_BYTES + len(sealed.context)
            self._mailbox[:DATA_KEY_BYTES] = sealed.data_key
            self._mailbox[DATA_KEY_BYTES:body] = sealed.context
            self._mailbox[body : body + len(sealed.ciphertext)] = sealed.ciphertext
        finally:
            wipe(sealed.data_key)
        await send(self.end, desired.Fill(0, len(sealed.context), len(sealed.ciphertext)))

    async def _received(self) -> Frame:
        received = await next_frame(self.end)
        if received is None:
            raise LinkError("end of file")
        return received[0]


def _frame(entry: Entry) -> desired.TreeEntry:
    return desired.TreeEntry(
        _KINDS[entry.kind],
        entry.uid,
        entry.gid,
        entry.mode,
        entry.size,
        entry.content.number,
        entry.content.object_id,
        entry.target,
    )


def _raise_for(status: Status, task: TaskId) -> None:
    match status:
        case Status.OK:
            return
        case Status.ARENA_FULL:
            raise ArenaFullError(f"task {task}: the arena is full: raise --arena-max, or grant less")
        case Status.UNSEAL_FAILED:
            raise UnsealError(f"task {task}: a value could not be opened: its bytes were changed, or the key is wrong")
        case Status.NO_VALUE:
            raise NotFoundError(f"task {task}: a value is missing or damaged in the store; the daemon's log names it")
        case Status.WITHHELD:
            raise LockedError
        case Status.MALFORMED:
            raise UnavailableError(f"task {task}: the file system refused the tree")
