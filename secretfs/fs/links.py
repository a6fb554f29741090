"""The words with control and with the supervisor.

Control says what the trees are, one request after the other, each answered by Done. Values come through the mailbox, a
memfd that both map: data key, associated data and sealed value, opened straight into the arena and wiped at once.
"""

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from secretfs.core.names import Kind, ObjectId
from secretfs.core.plan import Entry, Tree, VersionRef, tree_of
from secretfs.core.secret import DRAIN_MS
from secretfs.crypto.envelope import OVERHEAD_BYTES, unseal_into
from secretfs.errors import ArenaFullError, LinkError, NotFoundError, SecretfsError, UnsealError, WithheldError
from secretfs.fs import log
from secretfs.fs.trees import Trees
from secretfs.link import codec, desired, pulse, serving
from secretfs.link.codec import Frame
from secretfs.link.desired import Status
from secretfs.link.layout import DATA_KEY_BYTES, MAILBOX_BYTES
from secretfs.linux import memory, seqpacket
from secretfs.linux.packets import next_packet

_KINDS: Final = (Kind.SECRET, Kind.CONFIG)
_NO_MAILBOX: Final = bytes(MAILBOX_BYTES)


async def next_frame(end: socket.socket, max_fds: int = 0) -> tuple[Frame, list[int]] | None:
    """The next frame and its descriptors, the caller's to close; None at the end of file. Raises LinkError."""
    received = await next_packet(end, codec.MAX_FRAME_BYTES, max_fds)
    return (codec.decode(received[0]), received[1]) if received else None


class ControlLink:
    """One socket to one control process, to its end."""

    def __init__(self, end: socket.socket, mailbox_fd: int, trees: Trees) -> None:
        self._end = end
        self._trees = trees
        self._mailbox = memory.mapped(mailbox_fd, MAILBOX_BYTES)
        os.close(mailbox_fd)
        memory.keep_out_of_dumps(self._mailbox)
        self._named: set[str] | None = None  # tasks named since SyncBegin

    async def run(self) -> None:
        """Serve until control goes away. Raises LinkError when it is out of step."""
        try:
            while (frame := await self._receive()) is not None:
                await self._serve(frame)
        except LinkError as broken:
            log.error("control is out of step", error=str(broken))
        finally:
            self._mailbox[:] = _NO_MAILBOX
            self._mailbox.close()
            self._end.close()

    async def _serve(self, frame: Frame) -> None:
        match frame:
            case desired.TreeBegin(ask, task):
                tree = await self._tree()
                if self._named is not None:
                    self._named.add(task)
                await self._answer(ask, self._trees.put(task, tree, self._fill))
            case desired.Drop(ask, task):
                await self._answer(ask, self._trees.drop(task))
            case desired.SyncBegin():
                self._named = set()
            case desired.SyncEnd(ask):
                await self._answer(ask, self._drop_unnamed())
            case _:
                raise LinkError(f"{type(frame).__name__} came where a request was due")

    async def _tree(self) -> Tree:
        entries: list[Entry] = []
        drain_ms = DRAIN_MS
        while isinstance(frame := await self._due(), desired.TreeEntry | desired.TreeDrain):
            if isinstance(frame, desired.TreeDrain):
                drain_ms = frame.milliseconds
            else:
                entries.append(_entry(frame, drain_ms))
                drain_ms = DRAIN_MS
        codec.expect(frame, desired.TreeEnd)
        return tree_of(entries)

    async def _drop_unnamed(self) -> None:
        if self._named is None:
            raise LinkError("SyncEnd came without SyncBegin")
        for task in self._trees.tasks - self._named:
            await self._trees.drop(task)
        self._named = None

    async def _answer(self, ask: int, act: Awaitable[None]) -> None:
        try:
            await act
            status = Status.OK
        except LinkError:
            raise
        except SecretfsError as refusal:
            log.warning("tree refused", error=str(refusal))
            status = _status(refusal)
        self._send(desired.Done(ask, status))

    async def _fill(self, entry: Entry, buffer: memoryview) -> None:
        """Ask control for a version, and open it into the arena."""
        self._send(desired.Need(0, entry.content.number, entry.content.object_id))
        frame = await self._due()
        if frame == desired.NoFill(desired.NOT_NOW):
            raise WithheldError(f"{entry.content.object_id} version {entry.content.number} is locked")
        if isinstance(frame, desired.NoFill):
            raise NotFoundError(f"control has no value for {entry.content.object_id} version {entry.content.number}")
        fill = codec.expect(frame, desired.Fill)
        context_end = DATA_KEY_BYTES + fill.context_size
        end = context_end + fill.sealed_size
        if end > MAILBOX_BYTES:
            raise LinkError("Fill is longer than the mailbox")
        with memoryview(self._mailbox) as mail:
            try:
                if fill.sealed_size != len(buffer) + OVERHEAD_BYTES:
                    raise UnsealError(f"{entry.content.object_id}: the value is not of the size that its record says")
                context = bytes(mail[DATA_KEY_BYTES:context_end])
                with mail[:DATA_KEY_BYTES] as key, mail[context_end:end] as sealed:
                    unseal_into(key, sealed, context, buffer)
            finally:
                mail[:end] = bytes(end)

    async def _due(self) -> Frame:
        frame = await self._receive()
        if frame is None:
            raise LinkError("control went away")
        return frame

    async def _receive(self) -> Frame | None:
        received = await next_frame(self._end)
        return received[0] if received else None

    def _send(self, frame: Frame) -> None:
        try:
            seqpacket.send(self._end, codec.encode(frame))
        except OSError as gone:
            raise LinkError("control went away") from gone


class SupervisorLink:
    """The socket to the supervisor: it asks whether the event loop turns, wires control, and locks memory."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.alone = False  # the supervisor is gone, and no other has come yet
        self._grown: trio.Event = trio.Event()
        self._wanted: int | None = None  # bytes, while somebody waits for them
        self._usable = 0

    def goes_on(self, end: socket.socket) -> None:
        """Another supervisor has come, at this end. What the last one did not answer is asked again."""
        self._end.close()
        self._end = end
        self.alone = False
        self.send(pulse.Ready())
        if self._wanted is not None:
            self.send(serving.Grow(self._wanted))

    async def run(self, *, wired: Callable[[socket.socket, int], None]) -> bool:
        """Serve until told to stop (True) or until the supervisor has gone away (False)."""
        while (received := await next_frame(self._end, max_fds=2)) is not None:
            if isinstance(received[0], pulse.Stop):
                return True
            self._obey(*received, wired)
        self.alone = True
        return False

    def _obey(self, frame: Frame, fds: list[int], wired: Callable[[socket.socket, int], None]) -> None:
        match frame, fds:
            case pulse.Ping(beat), []:
                self.send(pulse.Pong(beat))
            case pulse.Wire(), [control, mailbox]:
                wired(seqpacket.adopt(control), mailbox)
            case serving.Grown(usable, _), []:
                self._usable = usable
                self._grown.set()
            case serving.Go(), []:
                return  # a standby that saw the end of the one before needed no second word
            case _:
                for fd in fds:
                    os.close(fd)
                log.error("unexpected frame", frame=type(frame).__name__)

    async def grow(self, wanted: int) -> int:
        """Have the arena locked as far as ``wanted`` bytes; how far it is now. One caller at a time."""
        self._grown, self._wanted = trio.Event(), wanted
        self.send(serving.Grow(wanted))
        await self._grown.wait()
        self._wanted = None
        return self._usable

    def send(self, frame: Frame) -> None:
        """Say it; a supervisor that is gone is found by ``run``."""
        try:
            seqpacket.send(self._end, codec.encode(frame))
        except OSError as gone:
            log.warning("the supervisor does not listen", error=str(gone))


def _entry(frame: desired.TreeEntry, drain_ms: int) -> Entry:
    content = VersionRef(ObjectId(frame.object_id), frame.version)
    if frame.kind >= len(_KINDS):
        raise LinkError(f"TreeEntry is of kind {frame.kind}")
    return Entry(_KINDS[frame.kind], frame.target, frame.uid, frame.gid, frame.mode, content, frame.size, drain_ms)


def _status(refusal: SecretfsError) -> Status:
    match refusal:
        case ArenaFullError():
            return Status.ARENA_FULL
        case UnsealError():
            return Status.UNSEAL_FAILED
        case WithheldError():
            return Status.WITHHELD
        case NotFoundError():
            return Status.NO_VALUE
        case _:
            return Status.MALFORMED
