"""The attach socket: a process asks for a tree, gets it as descriptors, and becomes a task.
``runtimes/connection.py`` is the other end.

Rules: 1. The peer is checked before a byte is read: uid 0, in the daemon's own user, pid and mount namespace.
Root of a container has uid 0 too, and is refused. 2. Whatever a peer does or leaves undone ends within a
deadline and costs one of a bounded number of places. 3. The program starts on ``{"Go": true}`` and not
before. A task whose Go was not sent is detached, whatever the reason.
"""

import contextlib
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec
import trio

from secretfs.control import log
from secretfs.control.audit import Caller
from secretfs.control.broker import Namespaces
from secretfs.control.listening import OVERLOADED, accepted
from secretfs.control.usecases.tasks import Attached, AttachRequest
from secretfs.core.grant import DEFAULT_MODE, GrantRequest
from secretfs.core.names import Kind, TaskId
from secretfs.core.task import Leader
from secretfs.errors import (
    BadRequestError,
    PermissionDeniedError,
    SecretfsError,
    UnavailableError,
)
from secretfs.linux import peer, process

MESSAGE_SECONDS = 2.0  # for each message of a peer, and each of ours
DETACH_SECONDS = 5.0  # for taking back a task that did not start, also while the daemon stops
MAX_CONNECTIONS = 256  # at once; the rest waits in the backlog
MAX_CONNECTIONS_PER_UID = 32  # of any uid but 0
MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 192 * 1024  # a packet of unix(7) must fit the send buffer, 208 KiB by default
PATH_MAX = 4096  # limits.h, with the final NUL


class Tasks(Protocol):
    """What is needed of control/usecases/tasks.py."""

    async def attach(self, caller: Caller, request: AttachRequest, leader: Leader) -> Attached:
        """Begin a task: its tree is there when this returns."""

    async def running(self, task_id: TaskId, mnt_ns: int) -> None:
        """Its program is about to start, in this mount namespace."""

    async def detach(self, task_id: TaskId, reason: str) -> None:
        """End it; again is harmless."""


class Broker(Protocol):
    """What is needed of control/broker.py."""

    @property
    def own(self) -> Namespaces:
        """The daemon's."""

    async def tree_fd(self, task: TaskId, kind: Kind) -> int:
        """A detached mount of the directory; the caller closes it."""

    async def namespaces(self, pidfd: int) -> Namespaces:
        """A process's. Raises: NotFoundError when it is gone."""


class _Grant(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    target: str
    uid: str = "0"
    gid: str = "0"
    mode: int = DEFAULT_MODE
    version: int | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True, rename="pascal"):
    target_dir: str
    service: str | None = None
    secrets: list[_Grant] = []
    until_leader: bool = False


class _Mounted(msgspec.Struct, forbid_unknown_fields=True, rename="pascal"):
    mounted: bool


_Message = TypeVar("_Message")
_REQUEST = msgspec.json.Decoder(_Request)
_MOUNTED = msgspec.json.Decoder(_Mounted)
_ENCODER = msgspec.json.Encoder()


class _GoneError(Exception):
    """The peer has ended, or was silent for too long; the text says which."""


async def serve(
    listener: socket.socket,
    tasks: Tasks,
    broker: Broker,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; tasks in the middle of their attach are detached then. The listening
    SOCK_SEQPACKET socket stays the caller's to close.
    """
    listener.setblocking(False)
    frontend = _Frontend(tasks, broker)
    async with trio.open_nursery() as nursery:
        task_status.started()
        await frontend.accept(trio.socket.from_stdlib_socket(listener), nursery)


class _Frontend:
    def __init__(self, tasks: Tasks, broker: Broker) -> None:
        self._tasks = tasks
        self._broker = broker
        self._places = trio.Semaphore(MAX_CONNECTIONS)
        self._of_uid: Counter[int] = Counter()

    async def accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        """Take a connection whenever there is a place for it."""
        while True:
            await self._places.acquire()
            nursery.start_soon(self._serve, await accepted(listener, "attach"))

    async def _serve(self, connection: trio.socket.SocketType) -> None:
        try:
            with connection:
                await self._answered(connection)
        finally:
            self._places.release()

    async def _answered(self, connection: trio.socket.SocketType) -> None:
        """One peer from its check to Go; every refusal reaches it in words."""
        who = peer.credentials(connection)
        caller = Caller(uid=who.uid, gid=who.gid, pid=who.pid)
        try:
            with self._counted(who.uid), _pidfd(connection) as pidfd:
                await self._check(who.uid, pidfd)
                await self._attach(connection, caller, pidfd)
        except SecretfsError as refusal:
            log.warning("an attach was refused", uid=who.uid, pid=who.pid, error=str(refusal))
            with contextlib.suppress(_GoneError):
                await _send(connection, _ENCODER.encode({"Error": str(refusal)}))
        except _GoneError as gone:
            log.warning("an attach came to nothing", uid=who.uid, pid=who.pid, error=str(gone))

    @contextlib.contextmanager
    def _counted(self, uid: int) -> Iterator[None]:
        if uid != 0 and self._of_uid[uid] >= MAX_CONNECTIONS_PER_UID:
            raise UnavailableError(f"uid {uid} has too many connections at once")
        self._of_uid[uid] += 1
        try:
            yield
        finally:
            self._of_uid[uid] -= 1
            if not self._of_uid[uid]:
                del self._of_uid[uid]

    async def _check(self, uid: int, pidfd: int) -> None:
        """Let nobody in but the root that the daemon itself is."""
        if uid != 0:
            raise PermissionDeniedError(f"uid {uid} may not attach tasks: only root may")
        theirs = await self._broker.namespaces(pidfd)
        if theirs != self._broker.own:
            raise PermissionDeniedError(
                "root of another user, pid or mount namespace may not attach tasks: start them on the host"
            )

    async def _attach(self, connection: trio.socket.SocketType, caller: Caller, pidfd: int) -> None:
        request = _attach_request(await _received(connection, _REQUEST))
        attached = await self._tasks.attach(caller, request, _leader(pidfd))
        started = False
        try:
            await self._hand_over(connection, attached)
            mounted = await _received(connection, _MOUNTED)
            if not mounted.mounted:
                raise _GoneError("the peer could not mount its tree")
            await self._tasks.running(attached.task.id, await self._mount_namespace(pidfd))
            await _send(connection, b'{"Go":true}')
            started = True
        finally:
            if not started:
                with trio.move_on_after(DETACH_SECONDS, shield=True) as scope:
                    await self._take_back(attached.task.id)
                if scope.cancelled_caught:
                    late = f"no end after {DETACH_SECONDS} s"
                    log.error("a task that did not start is still there", task=attached.task.id, error=late)

    async def _hand_over(self, connection: trio.socket.SocketType, attached: Attached) -> None:
        """Send the trees and what is in them: the secrets always, the configs if there are any."""
        packet = _answer(attached)
        kinds = {kind for kind, _ in attached.tree} | {Kind.SECRET}
        with contextlib.ExitStack() as opened:
            fds: list[int] = []
            for kind in (Kind.SECRET, Kind.CONFIG):
                if kind in kinds:
                    fds.append(await self._broker.tree_fd(attached.task.id, kind))
                    opened.callback(os.close, fds[-1])
            await _send(connection, packet, fds)

    async def _mount_namespace(self, pidfd: int) -> int:
        """The mount namespace that the task made for itself; its life is told by who is in it, so the
        daemon's will not do.
        """
        theirs = await self._broker.namespaces(pidfd)
        if theirs.mnt == self._broker.own.mnt:
            raise BadRequestError("a task needs a mount namespace of its own")
        return theirs.mnt

    async def _take_back(self, task: TaskId) -> None:
        try:
            await self._tasks.detach(task, "its program was not started")
        except SecretfsError as failure:
            log.error("a task that did not start is still there", task=task, error=str(failure))


@contextlib.contextmanager
def _pidfd(connection: trio.socket.SocketType) -> Iterator[int]:
    """The peer itself, not whoever has its pid by now."""
    try:
        pidfd = peer.pidfd(connection)
    except OSError as exc:
        refusal = UnavailableError if exc.errno in OVERLOADED else PermissionDeniedError
        raise refusal(f"cannot tell who asks: {exc.strerror}") from None
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _leader(pidfd: int) -> Leader:
    """How the peer is told from all other processes. It lives at the end, so the pid was its own all the
    while.
    """
    try:
        pid = process.pid_of(pidfd)
        leader = Leader(boot_id=process.boot_id(), pid=pid, start_ticks=process.start_ticks(pid))
        process.pid_of(pidfd)
    except ProcessLookupError:
        raise _GoneError("the peer has ended") from None
    except OSError as exc:
        raise UnavailableError(f"cannot tell who asks: {exc.strerror}") from exc
    return leader


def _attach_request(request: _Request) -> AttachRequest:
    _check_target_dir(request.target_dir)
    grants = tuple(
        GrantRequest(Kind.SECRET, grant.source, grant.target, grant.uid, grant.gid, grant.mode, grant.version)
        for grant in request.secrets
    )
    return AttachRequest(
        service=request.service,
        grants=grants,
        target_dir=request.target_dir,
        until_leader=request.until_leader,
    )


def _check_target_dir(path: str) -> None:
    if not path.startswith("/") or "\0" in path or len(path) >= PATH_MAX:
        raise BadRequestError(f"invalid target directory {path[:PATH_MAX]!r}: it must be an absolute path")


def _answer(attached: Attached) -> bytes:
    """What a peer is told of its task."""
    files = [
        {"Kind": kind.value, "Name": attached.names[kind, target], "Target": target} for kind, target in attached.tree
    ]
    packet = _ENCODER.encode({"Task": attached.task.id, "Files": files})
    if len(packet) > MAX_ANSWER_BYTES:
        raise BadRequestError(f"the task has too many files: {len(files)}")
    return packet


async def _received(connection: trio.socket.SocketType, decoder: msgspec.json.Decoder[_Message]) -> _Message:
    """One message. Descriptors that come with it are dropped by the kernel, as nothing is made ready to take
    them.
    """
    with _deadline("the peer said nothing"):
        packet, _, flags, _ = await connection.recvmsg(MAX_REQUEST_BYTES)
    if not packet:
        raise _GoneError("the peer has ended")
    if flags & socket.MSG_TRUNC:
        raise BadRequestError(f"the message is longer than {MAX_REQUEST_BYTES} bytes")
    try:
        return decoder.decode(packet)
    except msgspec.DecodeError as exc:
        raise BadRequestError(f"the message cannot be read: {exc}") from None


async def _send(connection: trio.socket.SocketType, packet: bytes, fds: Sequence[int] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"@{len(fds)}i", *fds))] if fds else []
    with _deadline("the peer did not listen"):
        await connection.sendmsg([packet], rights)


@contextlib.contextmanager
def _deadline(complaint: str) -> Iterator[None]:
    """What takes longer than MESSAGE_SECONDS, or fails as the peer is gone, is a _GoneError."""
    try:
        with trio.fail_after(MESSAGE_SECONDS):
            yield
    except trio.TooSlowError:
        raise _GoneError(f"{complaint} for {MESSAGE_SECONDS:g} s") from None
    except OSError as exc:
        raise _GoneError(f"the peer has ended: {exc.strerror}") from None
