"""The heads of requests and responses as bytes. Rule: what is plain is read here in one look, all else by h11, and of
what is plain h11 would say the same.

Plain is what clients send all day: one line for each field, each field once, a length and no other framing. h11 takes
five times as long for it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_PLAIN: Final = re.compile(rb"([A-Z]{3,7}) ([!-~]+) HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[ -~]*\r\n)+)\r\n")
_FIELD: Final = re.compile(rb"([^:]+):([^\r]*)\r\n")
_LENGTH: Final = re.compile(rb"[0-9]{1,9}")
_OTHERS: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})  # h11 knows what to do with them
_CONNECT: Final = b"CONNECT"


@dataclass(frozen=True, slots=True)
class Head:
    """Of a request. Field names are lower case; of a field that is there more than once the last counts."""

    method: bytes
    target: bytes
    fields: Mapping[bytes, bytes]
    version: bytes = b"1.1"

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return b"transfer-encoding" in self.fields

    @property
    def length(self) -> int:
        """Of the body, in bytes, if it does not come in chunks."""
        return int(self.fields.get(b"content-length", b"0"))

    @property
    def last(self) -> bool:
        """Whether the client wants no other answer on this connection (RFC 9112, 9.3)."""
        words = self.fields.get(b"connection", b"").lower().split(b",")
        return self.version < b"1.1" or b"close" in [word.strip() for word in words]


def plain(data: bytes) -> Head | None:
    """The head that these bytes are, if it is a plain one."""
    found = _PLAIN.fullmatch(data)
    if found is None or found[1] == _CONNECT:
        return None
    pairs = _FIELD.findall(found[3])
    fields = {name.lower(): value.strip(b" ") for name, value in pairs}
    if len(fields) < len(pairs) or b"host" not in fields or not _OTHERS.isdisjoint(fields):
        return None
    if not _LENGTH.fullmatch(fields.get(b"content-length", b"0")):
        return None
    return Head(found[1], found[2], fields)


def of_event(event: h11.Request) -> Head:
    """The head that h11 has read."""
    return Head(event.method, event.target, dict(event.headers), event.http_version)


def as_h11(head: Head) -> h11.Connection:
    """h11 as if it had read a plain head without a body: for an answer in pieces, which it knows how to send."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(head.method + b" / HTTP/1.1\r\nHost: plain\r\n\r\n")
    http.next_event()
    return http


def response(status: int, fields: Iterable[tuple[str, str]]) -> bytes:
    """The head of an answer; no field holds anything that a client gave."""
    lines = [f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in fields)]
    assert not any("\r" in line or "\n" in line for line in lines)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
