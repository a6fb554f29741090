"""A request and a response as the handlers see them: no socket, no h11.

Rule: the body is a bytearray that the server wipes when the handler has returned; whoever keeps a part of it
copies it.
"""

import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from secretfs.control.audit import Caller

_MAX_QUERY_FIELDS = 64
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole. Header names are lower case; a query key that is given twice has its first
    value.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytearray
    peer: Caller

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} with {len(self.body)} bytes>"


Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back. Content-Length is the server's business."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    sent: Callable[[], None] = lambda: None  # called when the client's socket has all of it
    stream: Callable[[Write], Awaitable[None]] | None = None  # instead of a body: writes it, until it returns


def json_response(value: Any, status: int = HTTPStatus.OK) -> Response:  # noqa: ANN401 what msgspec can encode
    """The value as JSON, closed by a newline as Docker does."""
    return Response(status, _ENCODER.encode(value) + b"\n", (("Content-Type", "application/json"),))


def message(status: int, text: str) -> Response:
    """Docker's shape of an error."""
    return json_response({"message": text}, status)


def split_target(target: bytes) -> tuple[str, dict[str, str]]:
    """The path, still percent-encoded, and the query. ValueError: more fields than anybody needs."""
    path, _, query = target.decode("latin-1").partition("?")
    fields = urllib.parse.parse_qs(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    return path, {key: values[0] for key, values in fields.items()}


def wipe(buffer: bytearray) -> None:
    """Zeros over all of it, in place, also while views of it exist."""
    buffer[:] = bytes(len(buffer))
