"""What control asks of the supervisor: the few things that need root. And the supervisor's words to control.

Questions are numbered, so that many may wait at once; answers come in any order. Rule: who waits for room in the
socket waits for its turn, as only one can.
"""

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from secretfs.control import log
from secretfs.control.channel import next_frame, send
from secretfs.core.names import Kind, TaskId
from secretfs.errors import LinkError, NotFoundError, UnavailableError
from secretfs.link import brokering, pulse
from secretfs.link.codec import Frame
from secretfs.linux import seqpacket

ANSWER_SECONDS: Final = 5.0  # a tree is looked up through fs, which may have to be replaced first
HELPER_SECONDS: Final = 20.0  # two at once come one after the other (supervisor/broker.py)
COMMAND_SECONDS: Final = 600.0  # one runs a minute at most, but may have to wait for its turn
_KINDS: Final = {Kind.SECRET: 0, Kind.CONFIG: 1}


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Inode numbers of a process's user, pid and mount namespace (namespaces(7))."""

    user: int
    pid: int
    mnt: int


class _Question:
    """What waits for an answer: the frames of it, and the descriptors that came with them."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.fds: list[int] = []
        self.answered = trio.Event()


class Broker:
    """The supervisor, as control sees it. ``run`` must be running for anything else to return."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._questions: dict[int, _Question] = {}
        self._last = 0
        self._turn = trio.Lock()  # to send
        self._own: Namespaces | None = None
        self._identified = trio.Event()

    async def run(self, *, wired: Callable[[socket.socket, int], None], stop: Callable[[], None]) -> None:
        """Hear the supervisor, until it has gone away."""
        while (received := await next_frame(self._end, max_fds=brokering.MAX_FDS)) is not None:
            match received:
                case pulse.Ping(beat), []:
                    await self._say(pulse.Pong(beat))
                case brokering.Identity(user, pid, mnt), []:
                    self._own = Namespaces(user, pid, mnt)
                    self._identified.set()
                case pulse.Wire(), [link, mailbox]:
                    wired(seqpacket.adopt(link), mailbox)
                case pulse.Stop(), []:
                    stop()
                case frame, fds:
                    self._answer(frame, fds)

    async def identified(self) -> None:
        """Wait until ``own`` is known."""
        await self._identified.wait()

    @property
    def own(self) -> Namespaces:
        """The daemon's own namespaces."""
        if self._own is None:
            raise UnavailableError("the supervisor has not said who it is yet")
        return self._own

    async def ready(self) -> None:
        """Say that control answers its sockets."""
        await self._say(pulse.Ready())

    async def stopped(self) -> None:
        """Say that every tree is flushed and control ends."""
        await self._say(pulse.Stopped())

    async def tree_fd(self, task: TaskId, kind: Kind) -> int:
        """A detached mount of one of the task's directories; the caller closes it. Raises UnavailableError."""
        question = await self._asked(lambda ask: brokering.AskTreeFd(ask, _KINDS[kind], task))
        match question.frames, question.fds:
            case [brokering.TreeFd(_, 0)], [fd]:
                return fd
            case [brokering.TreeFd(_, error)], [] if error:
                raise UnavailableError(f"the tree of task {task} cannot be mounted: {os.strerror(error)}")
            case _:
                raise _out_of_step(question)

    async def namespaces(self, pidfd: int) -> Namespaces:
        """The namespaces of a process. Raises NotFoundError when it is gone."""
        question = await self._asked(brokering.AskNamespaces, [pidfd])
        match question.frames, question.fds:
            case [brokering.Namespaces(_, 0, user, pid, mnt)], []:
                return Namespaces(user, pid, mnt)
            case [brokering.Namespaces(_, error)], []:
                raise NotFoundError(f"the process is gone: {os.strerror(error)}")
            case _:
                raise _out_of_step(question)

    async def members(self, task: TaskId, mnt_ns: int) -> list[int]:
        """Pidfds of all processes of a task, which was recorded with this mount namespace; the caller closes them."""
        question = await self._asked(lambda ask: brokering.AskMembers(ask, mnt_ns, task))
        return question.fds

    async def repair(self) -> int:
        """Put living trees where tasks have dead ones; how many mounts are dead still. Raises UnavailableError."""
        question = await self._asked(brokering.AskRepair, seconds=HELPER_SECONDS)
        match question.frames:
            case [brokering.Repaired(_, _, failed)]:
                return failed
            case _:
                raise _out_of_step(question)

    async def drop_mounts(self, task: TaskId) -> int:
        """Take every mount of the tree of a task that has ended away; how many are left. Raises UnavailableError."""
        question = await self._asked(lambda ask: brokering.AskDropMounts(ask, task), seconds=HELPER_SECONDS)
        match question.frames:
            case [brokering.MountsDropped(_, _, left)]:
                return left
            case _:
                raise _out_of_step(question)

    async def signal(self, task: TaskId, mnt_ns: int, pidfd: int, number: int) -> None:
        """Send a signal to a process of the task. Raises NotFoundError when it is gone, or is none of the task's."""
        question = await self._asked(lambda ask: brokering.AskSignal(ask, number, mnt_ns, task), [pidfd])
        _acted(question)

    async def command(self, task: TaskId, mnt_ns: int, pidfd: int, words: tuple[str, str, str]) -> int:
        """Run a command as a process of the task would; its exit code. ``words``: service, targets, command. Raises as
        signal.
        """
        text = "\0".join(words)
        question = await self._asked(
            lambda ask: brokering.AskCommand(ask, mnt_ns, task, text), [pidfd], seconds=COMMAND_SECONDS
        )
        return _acted(question)

    async def touch(self, task: TaskId, kind: Kind, target: str) -> None:
        """Have the kernel tell who watches a file of the task, or with no target its directory. Raises NotFoundError
        when there is no such file.
        """
        _acted(await self._asked(lambda ask: brokering.AskTouch(ask, _KINDS[kind], task, target)))

    async def _asked(
        self, make: Callable[[int], Frame], fds: list[int] | None = None, *, seconds: float = ANSWER_SECONDS
    ) -> _Question:
        self._last += 1
        ask, question = self._last, _Question()
        self._questions[ask] = question
        try:
            with trio.fail_after(seconds):
                await self._say(make(ask), fds)
                await question.answered.wait()
        except BaseException as exc:
            _close(question.fds)
            if isinstance(exc, trio.TooSlowError):
                raise UnavailableError(f"the supervisor did not answer within {seconds:g} s") from None
            raise
        finally:
            del self._questions[ask]
        return question

    def _answer(self, frame: Frame, fds: list[int]) -> None:
        question = self._questions.get(getattr(frame, "ask", 0))
        if question is None:
            _close(fds)
            log.warning("an answer to nobody", frame=type(frame).__name__)
            return
        question.frames.append(frame)
        question.fds += fds
        if not (isinstance(frame, brokering.Members) and frame.more):
            question.answered.set()

    async def _say(self, frame: Frame, fds: list[int] | None = None) -> None:
        async with self._turn:
            await send(self._end, frame, fds or [])


def _acted(question: _Question) -> int:
    match question.frames:
        case [brokering.Acted(_, 0, code)]:
            return code
        case [brokering.Acted(_, errno.EAGAIN)]:
            raise UnavailableError("the supervisor has too much to do")
        case [brokering.Acted(_, error)]:
            raise NotFoundError(os.strerror(error).lower())
        case _:
            raise _out_of_step(question)


def _out_of_step(question: _Question) -> LinkError:
    _close(question.fds)
    return LinkError(f"the supervisor answered with {', '.join(type(frame).__name__ for frame in question.frames)}")


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
