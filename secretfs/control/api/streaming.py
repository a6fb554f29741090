"""An answer that has no end yet. Rule: it ends when its source does, when the client hangs up or is waited for longer
than for any other answer, or when the server stops.

The head goes with the first piece: the source is ready for what happens next before the client knows that it is.
"""

import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11
import trio

from secretfs.control.api.http import Response


class Stream:
    """One answer in pieces."""

    def __init__(
        self, http: h11.Connection, connection: socket.socket, put: Callable[[bytes], Awaitable[bool]]
    ) -> None:
        """``put`` sends bytes to the client, and says whether it has taken them."""
        self._http = http
        self._socket = connection
        self._put = put
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
        if not await self._put(data):
            self.scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _hung_up(self) -> None:
        """A client has nothing to say during the answer: whatever comes, it is the end."""
        await trio.lowlevel.wait_readable(self._socket)
        self.scope.cancel()
