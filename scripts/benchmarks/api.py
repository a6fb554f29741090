"""HTTP over a unix socket, one call after the other on one connection: the same for secretfs and Docker's engine."""

import json
import socket
from typing import Final, Self

from benchmarks.report import BenchError
from secretfs.cli.http import ResponseReader

ANSWER_SECONDS: Final = 60
_CHUNK_BYTES: Final = 1 << 18


class Api:
    """A connection that is kept."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """What is answered. Raises: BenchError for a refusal."""
        self._socket.sendall(request_of(method, path, body))
        return self.answer(f"{method} {path}")

    def json(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """The object that is answered."""
        found: dict[str, object] = json.loads(self.call(method, path, body) or b"{}")
        return found

    def answer(self, what: str) -> bytes:
        """Read one answer."""
        reader = ResponseReader()
        while (found := reader.feed(data := self._socket.recv(_CHUNK_BYTES))) is None:
            if not data:
                raise BenchError(f"{what}: the connection was ended")
        if found.status >= 300:
            raise BenchError(f"{what}: {found.status} {found.body[:300]!r}")
        return found.body


def request_of(method: str, path: str, body: object = None) -> bytes:
    """The bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    kind = "Content-Type: application/json\r\n" if body is not None else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{kind}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content
