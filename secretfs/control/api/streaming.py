"""An answer that has no end yet. Rule: it ends when its source does, when the client hangs up or takes nothing for a
while, or when the server stops.

The head goes with the first piece: the source is ready for what happens next before the client knows that it is.
"""

import socket
from http import HTTPStatus

import h11
import trio

from secretfs.control.api.http import Response


class Stream:
    """One answer in pieces."""

    def __init__(self, http: h11.Connection, connection: socket.socket, send_seconds: float) -> None:
        self._http = http
        self._socket = connection
        self._send_seconds = send_seconds
        self._head: h11.Response | None = None
        self.scope = trio.CancelScope()  # who cancels it ends the stream

    async def run(self, response: Response) -> None:
        """Send what the response has to tell until one of the two is done."""
        assert response.stream is not None
        reason = HTTPStatus(response.status).phrase.encode()
        headers = [*response.headers, ("Connection", "close")]
        self._head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hung_up)
                await response.stream(self.write)
                await self._send(h11.EndOfMessage())
                nursery.cancel_scope.cancel()

    async def write(self, piece: bytes) -> None:
        """The next piece; the first one, which may be empty, tells the client that all is ready."""
        await self._send(h11.Data(data=piece))

    async def _send(self, event: h11.Data | h11.EndOfMessage) -> None:
        head, self._head = self._head, None
        data = (self._http.send(head) or b"" if head else b"") + (self._http.send(event) or b"")
        rest = memoryview(data)
        with trio.move_on_after(self._send_seconds) as patience:
            try:
                while rest:
                    rest = rest[await self._sent(rest) :]
            except OSError:
                self.scope.cancel()
        if patience.cancelled_caught:
            self.scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _sent(self, data: memoryview) -> int:
        while True:
            try:
                return self._socket.send(data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    async def _hung_up(self) -> None:
        """A client has nothing to say during the answer: whatever comes, it is the end."""
        await trio.lowlevel.wait_readable(self._socket)
        self.scope.cancel()
