"""HTTP/1.1 on a unix socket: h11 for the heads, trio for the time.

Rules:
1. Whatever a client does or leaves undone ends within a deadline and costs one slot of a bounded number:
   head, body and send each have their time, a body and a head their size. Nothing of it ends the server
   (cluster.md, "HTTP on trio": other servers do).
2. A body goes from the socket straight into the one bytearray that is wiped after the handler: the head is
   looked at with MSG_PEEK and taken without a byte of the body. Only a chunked body (no Docker client sends
   one) passes through h11.
3. When all slots are taken, the connection that has been idle longest makes room; if none is idle, the one whose client
   has been waited for longest. Bodies have a number of bytes together, and room is made for them in the same way.
"""

import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

import h11
import trio

from secretfs.control import log
from secretfs.control.api.http import Request, Response, message, split_target, wipe
from secretfs.control.api.streaming import Stream
from secretfs.control.audit import Caller
from secretfs.control.listening import accepted
from secretfs.linux import peer

_PEEK_BYTES = 16 * 1024
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
        self._idle: dict[trio.CancelScope, None] = {}  # oldest first
        self._waiting: dict[trio.CancelScope, float] = {}  # since when its client is waited for, oldest first
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
                nursery.start_soon(self._serve, connection)

    async def _slot(self) -> None:
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            self.crowded = True
            for longest in list(self._idle)[:1]:
                longest.cancel()
            while not await self._in_time(self._slots.acquire):
                self._let_go()
            self.crowded = False

    @contextlib.asynccontextmanager
    async def room_for(self, count: int) -> AsyncIterator[None]:
        """While inside, a body of this many bytes is in memory."""
        while self._free_bytes < count:
            if not await self._in_time(self._freed.wait):
                self._let_go()
        self._free_bytes -= count
        try:
            yield
        finally:
            self._free_bytes += count
            self._freed.set()
            self._freed = trio.Event()

    async def _in_time(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Whether it came before some client has been waited for longer than there is grace."""
        now = trio.current_time()
        oldest = next(iter(self._waiting.values()), now)
        with trio.move_on_at(max(oldest + self.limits.grace_seconds, now + _LET_GO_SECONDS)):
            await wait()
            return True
        return False

    def _let_go(self) -> None:
        for scope, since in list(self._waiting.items())[:_LET_GO]:
            if since + self.limits.grace_seconds <= trio.current_time():
                scope.cancel()
                del self._waiting[scope]

    async def _serve(self, connection: trio.socket.SocketType) -> None:
        try:
            with connection:
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
            self._idle[scope] = None
            try:
                yield
            finally:
                del self._idle[scope]
        if scope.cancelled_caught:
            raise _GoneError

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While inside, a client is waited for; it is dropped without an answer when others need the room."""
        with trio.CancelScope() as scope:
            self._waiting[scope] = trio.current_time()
            try:
                yield
            finally:
                self._waiting.pop(scope, None)
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


class _Connection:
    """One client: its requests, one after another."""

    def __init__(self, server: _Server, connection: trio.socket.SocketType, who: Caller) -> None:
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
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.max_head_bytes)
        try:
            head = await self._head(http)
            size = self._size(head)
            async with self._server.room_for(size):
                response = await self._handled(http, head, size)
        except _RefusedError as refused:
            await self._send(http, refused.response, close=True)
            await self._linger()
            return False
        if response.stream is not None:
            await self._stream(http, response)
            return False
        close = _chunked(head) or self._server.stopping  # bytes behind a body in chunks may be in h11
        await self._send(http, response, close=close, head=head.method == b"HEAD")
        response.sent()
        return http.our_state is h11.DONE

    async def _stream(self, http: h11.Connection, response: Response) -> None:
        stream = Stream(http, self._socket, self._limits.send_seconds)
        with self._server.ended_by_stop(stream.scope):
            await stream.run(response)

    async def _head(self, http: h11.Connection) -> h11.Request:
        with self._server.idle():
            await trio.lowlevel.wait_readable(self._socket)
        window = bytearray(_TAIL + _PEEK_BYTES)
        late = _RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the head of the request did not arrive in time")
        try:
            with self._server.waiting(), _deadline(self._limits.head_seconds, late):
                return await self._whole_head(http, window)
        except h11.RemoteProtocolError as exc:
            raise _RefusedError(HTTPStatus(exc.error_status_hint), f"malformed HTTP request: {exc}") from None
        finally:
            wipe(window)

    async def _whole_head(self, http: h11.Connection, window: bytearray) -> h11.Request:
        """window: two bytes of what was taken before, then what is there to be looked at."""
        view = memoryview(window)
        taken = 0
        while True:
            count = await self._socket.recv_into(view[_TAIL:], 0, socket.MSG_PEEK)
            if count == 0:
                raise _GoneError
            found = _END_OF_HEAD.search(window, 0, _TAIL + count)
            if found is not None:
                count = found.end() - _TAIL
            count = await self._socket.recv_into(view[_TAIL:], count)
            taken += count
            if taken > self._limits.max_head_bytes:
                raise self._head_too_large()
            http.receive_data(bytes(view[_TAIL : _TAIL + count]))
            event = http.next_event()
            if isinstance(event, h11.Request):
                return _supported(event)
            if found is not None:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "malformed HTTP request: no request line")
            view[:_TAIL] = bytes(view[count : _TAIL + count])

    def _size(self, head: h11.Request) -> int:
        """How large the body may be. Raises: _RefusedError."""
        if _chunked(head):
            return self._limits.max_body_bytes
        length = int(dict(head.headers).get(b"content-length", b"0"))
        if length > self._limits.max_body_bytes:
            raise self._too_large()
        return length

    async def _handled(self, http: h11.Connection, head: h11.Request, size: int) -> Response:
        body = bytearray()
        try:
            await self._body(http, head, body, size)
            return await self._server.handler(self._request(head, body))
        finally:
            wipe(body)

    async def _body(self, http: h11.Connection, head: h11.Request, body: bytearray, size: int) -> None:
        late = _RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body of the request did not arrive in time")
        with self._server.waiting(), _deadline(self._limits.body_seconds, late):
            if http.they_are_waiting_for_100_continue:
                await self._write(http.send(h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])))
            if _chunked(head):
                await self._chunked_body(http, body)
            else:
                body.extend(bytes(size))
                await self._fill(body)

    async def _fill(self, body: bytearray) -> None:
        with memoryview(body) as view:
            done = 0
            while done < len(view):
                count = await self._socket.recv_into(view[done:])
                if count == 0:
                    raise _GoneError
                done += count

    async def _chunked_body(self, http: h11.Connection, body: bytearray) -> None:
        window = bytearray(_PEEK_BYTES)
        try:
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    body.extend(event.data)
                elif event is h11.NEED_DATA:
                    http.receive_data(bytes(window[: await self._socket.recv_into(window)]))
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

    def _request(self, head: h11.Request, body: bytearray) -> Request:
        try:
            path, query = split_target(head.target)
        except ValueError:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the query has too many fields") from None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        return Request(head.method.decode("ascii"), path, query, headers, body, self._peer)

    async def _send(self, http: h11.Connection, response: Response, *, close: bool, head: bool = False) -> None:
        headers = [*response.headers]
        bodiless = response.status == HTTPStatus.NO_CONTENT
        if not bodiless:
            headers.append(("Content-Length", str(len(response.body))))
        if close:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase.encode()
        data = http.send(h11.Response(status_code=response.status, headers=headers, reason=reason))
        if response.body and not (bodiless or head):
            data += http.send(h11.Data(data=response.body))
        data += http.send(h11.EndOfMessage())
        with self._server.waiting(), _deadline(self._limits.send_seconds, _GoneError()):
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[await self._socket.send(rest) :]

    async def _linger(self) -> None:
        """Let a client that is still writing see the answer before it sees the end."""
        window = bytearray(_PEEK_BYTES)
        self._socket.shutdown(socket.SHUT_WR)
        with trio.move_on_after(self._limits.linger_seconds):
            while await self._socket.recv_into(window):
                pass
        wipe(window)


def _chunked(head: h11.Request) -> bool:
    return b"transfer-encoding" in dict(head.headers)


def _supported(head: h11.Request) -> h11.Request:
    if head.http_version not in _VERSIONS:
        raise _RefusedError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here")
    return head


@contextlib.contextmanager
def _deadline(seconds: float, late: Exception) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise late from None
