"""The attach socket: a process asks for a tree, gets it as descriptors, and becomes a task.
``runtimes/connection.py`` is the other end.

Rules: 1. The peer is checked before a byte is read (gate.py). 2. Whatever a peer does or leaves undone ends
within a deadline and costs one of a bounded number of places (places.py), and of lines in log and audit (refusals.py).
3. The program starts on ``{"Go": true}`` and not before. A task whose Go was not sent is detached, whatever
the reason.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec
import trio

from secretfs.control import log
from secretfs.control.audit import Caller
from secretfs.control.frontends import gate
from secretfs.control.frontends.gate import EVERYBODYS, Door, Gate
from secretfs.control.frontends.places import ROOT, Places
from secretfs.control.frontends.refusals import Refusals
from secretfs.control.listening import OVERLOADED, accepted_at_once
from secretfs.control.usecases.rights import Rights
from secretfs.control.usecases.tasks import Attached, AttachRequest
from secretfs.core.grant import GrantRequest
from secretfs.core.grant_syntax import DEFAULT_MODE
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
MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 192 * 1024  # a packet of unix(7) must fit the send buffer, 208 KiB by default
PATH_MAX = 4096  # limits.h, with the final NUL


class Tasks(Protocol):
    """What is needed of control/usecases/tasks.py."""

    async def attach(
        self, caller: Caller, request: AttachRequest, leader: Leader, rights: Rights | None = None
    ) -> Attached:
        """Begin a task: its tree is there when this returns."""

    async def refused(self, caller: Caller, service: str, reason: str, *, more: int = 0) -> None:
        """Keep in the audit that a task was refused."""

    async def running(self, task_id: TaskId, mnt_ns: int | None) -> None:
        """Its program is about to start, in this mount namespace, if it has one of its own."""

    async def detach(self, task_id: TaskId, reason: str) -> bool:
        """End it; again is harmless."""


class Broker(gate.Broker, Protocol):
    """What is needed of control/broker.py."""

    async def tree_fd(self, task: TaskId, kind: Kind) -> int:
        """A detached mount of the directory; the caller closes it."""


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
    configs: list[_Grant] = []
    until_leader: bool = False
    mount: bool = False  # the tree goes where others are; the peer alone is the task


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
    frontend: "Frontend",
    *,
    door: Door = EVERYBODYS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; tasks in the middle of their attach are detached then. The listening
    SOCK_SEQPACKET socket stays the caller's to close.
    """
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        task_status.started()
        await frontend.accept(listener, door, nursery)


class Frontend:
    """All attach sockets together: they share places and refusals."""

    def __init__(self, tasks: Tasks, broker: Broker, *, api_gid: int = 0) -> None:
        self._tasks = tasks
        self._broker = broker
        self._gate = Gate(broker, api_gid)
        self._places = Places()
        self._refusals = Refusals(tasks)

    async def accept(self, listener: socket.socket, door: Door, nursery: trio.Nursery) -> None:
        """Take connections whenever there are places for them; who gets none is told so."""
        while True:
            for connection in await accepted_at_once(listener, "attach"):
                who = peer.credentials(connection)
                caller = Caller(uid=who.uid, gid=who.gid, pid=who.pid)
                holder = _holder(caller, door)
                try:
                    await self._places.take(holder, f"service {door.name}" if door.service else f"uid {caller.uid}")
                except UnavailableError as refusal:
                    self._turn_away(connection, caller, door, refusal, nursery)
                else:
                    nursery.start_soon(self._serve, trio.socket.from_stdlib_socket(connection), caller, door, holder)

    def _turn_away(
        self, connection: socket.socket, caller: Caller, door: Door, refusal: SecretfsError, nursery: trio.Nursery
    ) -> None:
        """In words, which fit the buffer of a new connection. This is quick: whoever floods us has to be outrun."""
        connection.setblocking(False)
        with connection, contextlib.suppress(OSError):
            connection.send(_ENCODER.encode({"Error": str(refusal)}))
        if self._refusals.room(caller):
            nursery.start_soon(self._refusals.keep, caller, door.name or "", str(refusal))

    async def _serve(self, connection: trio.socket.SocketType, caller: Caller, door: Door, who: Hashable) -> None:
        try:
            with connection:
                await self._answered(connection, caller, door)
        finally:
            self._places.give_back(who)

    async def _answered(self, connection: trio.socket.SocketType, caller: Caller, door: Door) -> None:
        """One peer from its check to Go; every refusal reaches it in words."""
        service = door.name or ""
        try:
            with _pidfd(connection) as pidfd:
                rights = await self._gate.rights(connection, caller, pidfd, door)
                request = _attach_request(await _received(connection, _REQUEST))
                service = request.service or service
                await self._attach(connection, caller, pidfd, request, rights)
        except SecretfsError as refusal:
            await _refuse(connection, refusal)
            if self._refusals.room(caller):
                await self._refusals.keep(caller, service, str(refusal))
        except _GoneError as gone:
            if self._refusals.room(caller):
                log.warning("an attach came to nothing", uid=caller.uid, pid=caller.pid, error=str(gone))

    async def _attach(
        self, connection: trio.socket.SocketType, caller: Caller, pidfd: int, request: AttachRequest, rights: Rights
    ) -> None:
        if request.mounted:
            await self._gate.check_root(caller, pidfd)
        attached = await self._tasks.attach(caller, request, _leader(pidfd), rights)
        started = False
        try:
            await self._hand_over(connection, attached)
            mounted = await _received(connection, _MOUNTED)
            if not mounted.mounted:
                raise _GoneError("the peer could not mount its tree")
            own = None if request.mounted else await self._mount_namespace(pidfd)
            await self._tasks.running(attached.task.id, own)
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
        """Send the trees and what is in them: the secrets always, the configs if there are any or may be later, as
        a service can be granted some.
        """
        packet = _answer(attached)
        kinds = {kind for kind, _ in attached.tree} | {Kind.SECRET}
        if attached.task.service_id is not None:
            kinds.add(Kind.CONFIG)
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


def _holder(caller: Caller, door: Door) -> Hashable:
    """Whose place it is. Root of a container is not the host's, which needs a place even so."""
    if door.service is not None:
        return door.service
    return ROOT if caller.uid == 0 else caller.uid


async def _refuse(connection: trio.socket.SocketType, refusal: SecretfsError) -> None:
    with contextlib.suppress(_GoneError):
        await _send(connection, _ENCODER.encode({"Error": str(refusal)}))


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
        GrantRequest(kind, grant.source, grant.target, grant.uid, grant.gid, grant.mode, grant.version)
        for kind, given in ((Kind.SECRET, request.secrets), (Kind.CONFIG, request.configs))
        for grant in given
    )
    return AttachRequest(
        service=request.service,
        grants=grants,
        target_dir=request.target_dir,
        until_leader=request.until_leader,
        mounted=request.mount,
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
