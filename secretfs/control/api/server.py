"""HTTP/1.1 on a unix socket: ``heads.py`` and h11 for the heads, trio for the time.

Rules:
1. Whatever a client does or leaves undone ends within a deadline and costs one slot of a bounded number:
   head, body and send each have their time, a body and a head their size. Nothing of it ends the server
   (cluster.md, "HTTP on trio": other servers do).
2. A body goes from the socket straight into the one bytearray that is wiped after the handler: the head is
   looked at with MSG_PEEK and taken without a byte of the body. Only a chunked body (no Docker client sends
   one) passes through h11.
3. When all slots are taken, the connection that has been idle longest makes room; if none is idle, the one whose client
   has been waited for longest. Bodies have a number of bytes together, and room is made for them in the same way.
4. What is there is taken at once: trio is asked only when there is something to wait for, and a request that came
   whole has waited once, for its beginning.
"""

import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import h11
import trio

from secretfs.control import log
from secretfs.control.api import heads
from secretfs.control.api.heads import Head
from secretfs.control.api.http import Request, Response, message, split_target, wipe
from secretfs.control.api.streaming import Stream
from secretfs.control.audit import Caller
from secretfs.control.listening import accepted
from secretfs.linux import peer

_PEEK_BYTES = 16 * 1024
_CHUNKED_BYTES = 2 * 1024  # of a body in chunks at once: some 400 of the smallest chunks
_VERSIONS = (b"1.0", b"1.1")
_END_OF_HEAD = re.compile(rb"\n\r?\n")  # what h11 takes for one
_LET_GO = 16  # clients at once, so that a thousand who say nothing are gone in seconds
_LET_GO_SECONDS = 0.02  # in which a client that was dropped has left its room
_TAIL = 2  # bytes: as much of an end of head as may have come before the rest of it

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much. The largest legal body is a config of 1,023,999 bytes in base64: 1.4 MiB."""

    idle_seconds: float = 60
    head_seconds: float = 5
    body_seconds: float = 20
    send_seconds: float = 20
    linger_seconds: float = 1
    stop_seconds: float = 1
    max_head_bytes: int = 64 * 1024
    max_body_bytes: int = 4 * 1024 * 1024
    max_connections: int = 128
    max_bodies_bytes: int = 32 * 1024 * 1024  # together
    grace_seconds: float = 0.5  # that a client is waited for although others have no room


DEFAULT_LIMITS = Limits()


async def serve(
    listener: socket.socket,
    handler: Handler,
    *,
    stop: trio.Event,
    limits: Limits = DEFAULT_LIMITS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until stop is set; then take no more, let what is in hand end within limits.stop_seconds, and
    return.

    The listening socket stays the caller's to close. What the handler raises ends the server: it has to
    answer every refusal itself.
    """
    server = _Server(handler, limits)
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.stop_at, stop, nursery.cancel_scope)
        task_status.started()
        await server.accept(trio.socket.from_stdlib_socket(listener), nursery)


class _RefusedError(Exception):
    """The request cannot be read: this is the answer, and the connection ends."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.response = message(status, text)


class _GoneError(Exception):
    """The client has ended, or has been idle for too long: there is nobody to answer."""


class _Server:
    """The slots, and who of them is idle."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler = handler
        self.limits = limits
        self.stopping = False
        self.crowded = False
        self._slots = trio.Semaphore(limits.max_connections)
        self._idle: dict[trio.CancelScope, float] = {}  # since when; oldest first
        self.waiting: dict[_Patience, float] = {}  # with whom, and since when; oldest first
        self._streams: set[trio.CancelScope] = set()
        self._free_bytes = limits.max_bodies_bytes
        self._freed = trio.Event()
        self._accepting = trio.CancelScope()

    async def stop_at(self, stop: trio.Event, everything: trio.CancelScope) -> None:
        await stop.wait()
        self.stopping = True
        everything.deadline = trio.current_time() + self.limits.stop_seconds
        self._accepting.cancel()
        for scope in (*self._idle, *self._streams):
            scope.cancel()

    async def accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        with self._accepting:
            while True:
                await self._slot()
                connection = await accepted(listener, "api")
                nursery.start_soon(self._serve, socket.socket(fileno=connection.detach()))

    async def _slot(self) -> None:
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            self.crowded = True
            self._drop_idle(trio.current_time())
            while not await self._in_time(self._slots.acquire):
                # The one may have begun to speak, and others may be idle only now: these may be about to speak.
                self._drop_idle(trio.current_time() - self.limits.grace_seconds)
                self._let_go()
            self.crowded = False

    def _drop_idle(self, since: float) -> None:
        """The one that has been idle longest, if that is since then."""
        for longest, began in list(self._idle.items())[:1]:
            if began <= since:
                longest.cancel()

    async def take_room(self, count: int) -> None:
        """For a body of this many bytes, until it is given back."""
        while self._free_bytes < count:
            if not await self._in_time(self._freed.wait):
                self._let_go()
        self._free_bytes -= count

    def give_room(self, count: int) -> None:
        """What was taken."""
        self._free_bytes += count
        self._freed.set()
        self._freed = trio.Event()

    async def _in_time(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Whether it came before some client has been waited for longer than there is grace."""
        now = trio.current_time()
        oldest = next(iter(self.waiting.values()), now)
        with trio.move_on_at(max(oldest + self.limits.grace_seconds, now + _LET_GO_SECONDS)):
            await wait()
            return True
        return False

    def _let_go(self) -> None:
        for patience, since in list(self.waiting.items())[:_LET_GO]:
            if since + self.limits.grace_seconds <= trio.current_time():
                patience.lose()

    async def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.setblocking(False)
                who = peer.credentials(connection)
                await _Connection(self, connection, Caller(uid=who.uid, gid=who.gid, pid=who.pid)).run()
        except OSError as exc:
            log.info("an API client went away", error=exc.strerror)
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """While inside, this connection may be dropped without an answer."""
        with trio.move_on_after(self.limits.idle_seconds) as scope:
            self._idle[scope] = trio.current_time()
            try:
                yield
            finally:
                del self._idle[scope]
        if scope.cancelled_caught:
            raise _GoneError

    @contextlib.contextmanager
    def ended_by_stop(self, scope: trio.CancelScope) -> Iterator[None]:
        """While inside, a stop ends the scope at once."""
        self._streams.add(scope)
        try:
            yield
        finally:
            self._streams.discard(scope)


class _Patience:
    """How long a client may let us wait: for some time from now, and less when others need the room."""

    __slots__ = ("_at", "_late", "_lost", "_scope", "_server")

    def __init__(self, server: _Server, seconds: float, late: Exception) -> None:
        """``late`` is raised when the time is over."""
        self._server = server
        self._at = trio.current_time() + seconds
        self._late = late
        self._lost = False
        self._scope: trio.CancelScope | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.waiting.pop(self, None)

    async def wait(self, ready: Callable[[socket.socket], Awaitable[None]], connection: socket.socket) -> None:
        """Until the connection is ready. Raises: ``late``; _GoneError when the room was needed."""
        if not self._lost:
            self._server.waiting.setdefault(self, trio.current_time())
            with trio.move_on_at(self._at) as self._scope:
                await ready(connection)
        if self._lost:
            raise _GoneError
        if self._scope is not None and self._scope.cancelled_caught:
            raise self._late from None

    def lose(self) -> None:
        """Wait no more: the client is dropped without an answer."""
        self._lost = True
        self._server.waiting.pop(self, None)
        if self._scope is not None:
            self._scope.cancel()


class _Connection:
    """One client: its requests, one after another."""

    def __init__(self, server: _Server, connection: socket.socket, who: Caller) -> None:
        self._server = server
        self._limits = server.limits
        self._socket = connection
        self._peer = who

    async def run(self) -> None:
        with contextlib.suppress(_GoneError):
            while await self._exchange():
                if self._server.stopping or self._server.crowded:
                    return

    async def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            head, http = await self._head()
            response = await self._answered(head, http)
        except _RefusedError as refused:
            await self._send(refused.response, close=True)
            await self._linger()
            return False
        if response.stream is not None:
            await self._stream(http or heads.as_h11(head), response)
            return False
        # Bytes behind a body in chunks may be in h11.
        close = head.chunked or head.last or self._server.stopping
        await self._send(response, close=close, bodiless=head.method == b"HEAD")
        response.sent()
        return not close

    async def _answered(self, head: Head, http: h11.Connection | None) -> Response:
        size = self._limits.max_body_bytes if head.chunked else head.length
        if size > self._limits.max_body_bytes:
            raise self._too_large()
        await self._server.take_room(size)
        body = bytearray()
        try:
            await self._body(http, head, body)
            if head.method == b"GET":  # its handler may wait, and has no use for a body
                wipe(body)
                body.clear()
                self._server.give_room(size)
                size = 0
            return await self._server.handler(self._request(head, body))
        finally:
            wipe(body)
            self._server.give_room(size)

    async def _stream(self, http: h11.Connection, response: Response) -> None:
        stream = Stream(http, self._socket, self._put)
        with self._server.ended_by_stop(stream.scope):
            await stream.run(response)

    async def _put(self, data: bytes) -> bool:
        """Whether the client has taken it."""
        try:
            with _Patience(self._server, self._limits.send_seconds, _GoneError()) as patience:
                await self._write(data, patience)
        except (OSError, _GoneError):
            return False
        return True

    async def _head(self) -> tuple[Head, h11.Connection | None]:
        """And what has read it, if it was not plain."""
        with self._server.idle():
            await trio.lowlevel.wait_readable(self._socket)
        late = _RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the head of the request did not arrive in time")
        window = bytearray(_TAIL + _PEEK_BYTES)
        try:
            with _Patience(self._server, self._limits.head_seconds, late) as patience:
                return await self._whole_head(window, patience)
        except h11.RemoteProtocolError as exc:
            raise _RefusedError(HTTPStatus(exc.error_status_hint), f"malformed HTTP request: {exc}") from None
        finally:
            wipe(window)

    async def _whole_head(self, window: bytearray, patience: _Patience) -> tuple[Head, h11.Connection | None]:
        """window: two bytes of what was taken before, then what is there to be looked at."""
        view = memoryview(window)
        http: h11.Connection | None = None
        taken = 0
        while True:
            count = await self._received(view[_TAIL:], patience, socket.MSG_PEEK)
            if count == 0:
                raise _GoneError
            found = _END_OF_HEAD.search(window, 0, _TAIL + count)
            if found is not None:
                count = found.end() - _TAIL
            count = await self._received(view[_TAIL : _TAIL + count], patience)
            taken += count
            if taken > self._limits.max_head_bytes:
                raise self._head_too_large()
            data = bytes(view[_TAIL : _TAIL + count])
            if http is None and (head := heads.plain(data)) is not None:
                return head, None
            http = http or h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.max_head_bytes)
            http.receive_data(data)
            event = http.next_event()
            if isinstance(event, h11.Request):
                return heads.of_event(_supported(event)), http
            if found is not None:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "malformed HTTP request: no request line")
            view[:_TAIL] = bytes(view[count : _TAIL + count])

    async def _body(self, http: h11.Connection | None, head: Head, body: bytearray) -> None:
        late = _RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body of the request did not arrive in time")
        with _Patience(self._server, self._limits.body_seconds, late) as patience:
            if http is not None and http.they_are_waiting_for_100_continue:
                await self._write(heads.CONTINUE, patience)
            if http is not None and head.chunked:
                await self._chunked_body(http, body, patience)
            else:
                body.extend(bytes(head.length))
                await self._fill(body, patience)

    async def _fill(self, body: bytearray, patience: _Patience) -> None:
        with memoryview(body) as view:
            done = 0
            while done < len(view):
                count = await self._received(view[done:], patience)
                if count == 0:
                    raise _GoneError
                done += count

    async def _chunked_body(self, http: h11.Connection, body: bytearray, patience: _Patience) -> None:
        """Others have a turn after each look: h11 takes 20 µs for a chunk, and a chunk may be of one byte."""
        window = bytearray(_CHUNKED_BYTES)
        try:
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    body.extend(event.data)
                elif event is h11.NEED_DATA:
                    await patience.wait(trio.lowlevel.wait_readable, self._socket)
                    http.receive_data(bytes(window[: await self._received(window, patience)]))
                if len(body) > self._limits.max_body_bytes:
                    raise self._too_large()
        except h11.RemoteProtocolError as exc:
            raise _RefusedError(HTTPStatus(exc.error_status_hint), f"malformed HTTP request: {exc}") from None
        finally:
            wipe(window)

    def _head_too_large(self) -> _RefusedError:
        return _RefusedError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head of the request is larger than {self._limits.max_head_bytes} bytes",
        )

    def _too_large(self) -> _RefusedError:
        return _RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body of the request is larger than {self._limits.max_body_bytes} bytes",
        )

    def _request(self, head: Head, body: bytearray) -> Request:
        try:
            path, query = split_target(head.target)
        except ValueError:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the query has too many fields") from None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.fields.items()}
        return Request(head.method.decode("ascii"), path, query, headers, body, self._peer)

    async def _send(self, response: Response, *, close: bool, bodiless: bool = False) -> None:
        fields = [*response.headers]
        if response.status == HTTPStatus.NO_CONTENT:
            bodiless = True
        else:
            fields.append(("Content-Length", str(len(response.body))))
        if close:
            fields.append(("Connection", "close"))
        data = heads.response(response.status, fields)
        with _Patience(self._server, self._limits.send_seconds, _GoneError()) as patience:
            await self._write(data if bodiless else data + response.body, patience)

    async def _received(self, view: bytearray | memoryview, patience: _Patience, flags: int = 0) -> int:
        while True:
            try:
                return self._socket.recv_into(view, 0, flags)
            except BlockingIOError:
                await patience.wait(trio.lowlevel.wait_readable, self._socket)

    async def _write(self, data: bytes, patience: _Patience) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await patience.wait(trio.lowlevel.wait_writable, self._socket)

    async def _linger(self) -> None:
        """Let a client that is still writing see the answer before it sees the end."""
        window = bytearray(_PEEK_BYTES)
        self._socket.shutdown(socket.SHUT_WR)
        with trio.move_on_after(self._limits.linger_seconds):
            while self._left(window):
                await trio.lowlevel.wait_readable(self._socket)
        wipe(window)

    def _left(self, window: bytearray) -> bool:
        """Whether the client may write more; what it has written is taken."""
        try:
            return self._socket.recv_into(window) > 0
        except BlockingIOError:
            return True


def _supported(head: h11.Request) -> h11.Request:
    if head.http_version not in _VERSIONS:
        raise _RefusedError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here")
    return head
