"""HTTP/1.1 answers, without a socket. Rule: bytes in, one response out; what is not HTTP, or has no end, is
refused.

RFC 9112: status line, fields, then a body by ``Transfer-Encoding: chunked``, by ``Content-Length``, or up
to the end of the connection. Interim answers (1xx) are passed over; 204 and 304 have no body.
"""

import re

from secretfs.errors import LinkError

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024  # far over the largest listing; a bound, not a size that is reserved

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?")
_DECIMAL = re.compile(rb"[0-9]{1,15}")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{1,12}")


class Response:
    """What the daemon answered."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, body: bytes, fields: dict[bytes, bytes]) -> None:
        """``fields`` are the headers, their names in lower case."""
        self.status = status
        self.body = body
        self.fields = fields


class ResponseReader:
    """Takes the bytes of one answer as they come.

    ``feed`` yields the response with the bytes that complete it, None before; ``end`` says that no more
    will come.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._body = bytearray()
        self._status = 0
        self._fields: dict[bytes, bytes] = {}
        self._left: int | None = None  # of the body or of the current chunk; None: up to the end of the connection
        self._state = "head"

    def feed(self, data: bytes) -> Response | None:
        """Add bytes. Raises: LinkError when they are not an answer."""
        self._pending += data
        while self._step():
            pass
        return Response(self._status, bytes(self._body), self._fields) if self._state == "done" else None

    def end(self) -> Response:
        """The connection has ended. Raises: LinkError when the answer was not complete."""
        if self._state == "body" and self._left is None:
            self._state = "done"
        if self._state != "done":
            raise LinkError("the answer was cut short")
        return Response(self._status, bytes(self._body), self._fields)

    def _step(self) -> bool:
        """Take one element off the pending bytes; False when there is no whole one."""
        match self._state:
            case "head":
                return self._head()
            case "body":
                return self._content("done")
            case "chunk size":
                return self._chunk_size()
            case "chunk":
                return self._content("chunk end")
            case "chunk end":
                return self._chunk_end()
            case "trailer":
                return self._trailer()
        return False

    def _head(self) -> bool:
        end = self._pending.find(b"\r\n\r\n")
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._pending) > MAX_HEAD_BYTES):
            raise LinkError("the answer's head is too long")
        if end < 0:
            if not b"HTTP/1.".startswith(bytes(self._pending[:7])):
                raise LinkError("the answer is not HTTP")
            return False
        status_line, *lines = bytes(self._pending[:end]).split(b"\r\n")
        del self._pending[: end + 4]
        parsed = _STATUS_LINE.fullmatch(status_line)
        if parsed is None:
            raise LinkError("the answer is not HTTP")
        self._status = int(parsed[1])
        if self._status >= 200:
            self._fields = _fields(lines)
            self._begin_body(self._fields)
        return True

    def _begin_body(self, fields: dict[bytes, bytes]) -> None:
        coding = fields.get(b"transfer-encoding")
        length = fields.get(b"content-length")
        if self._status in (204, 304):
            self._state = "done"
        elif coding is not None:
            if coding.lower() != b"chunked":
                raise LinkError("the answer has an unknown transfer coding")
            self._state = "chunk size"
        else:
            self._state = "body"
            self._left = None if length is None else _number(length, _DECIMAL, 10)

    def _content(self, then: str) -> bool:
        taken = len(self._pending) if self._left is None else min(self._left, len(self._pending))
        if len(self._body) + taken > MAX_BODY_BYTES:
            raise LinkError("the answer is too long")
        self._body += self._pending[:taken]
        del self._pending[:taken]
        if self._left is None:
            return False
        self._left -= taken
        if self._left:
            return False
        self._state = then
        return True

    def _line(self) -> bytes | None:
        end = self._pending.find(b"\r\n")
        if end < 0:
            if len(self._pending) > MAX_HEAD_BYTES:
                raise LinkError("the answer has a line without an end")
            return None
        found = bytes(self._pending[:end])
        del self._pending[: end + 2]
        return found

    def _chunk_size(self) -> bool:
        found = self._line()
        if found is None:
            return False
        self._left = _number(found.partition(b";")[0].strip(), _HEXADECIMAL, 16)
        self._state = "chunk" if self._left else "trailer"
        return True

    def _chunk_end(self) -> bool:
        found = self._line()
        if found is None:
            return False
        if found:
            raise LinkError("the answer has a chunk that is longer than it says")
        self._state = "chunk size"
        return True

    def _trailer(self) -> bool:
        found = self._line()
        if found is None:
            return False
        if not found:
            self._state = "done"
        return bool(found)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise LinkError("the answer has a malformed header")
        known = fields.setdefault(name.lower(), value.strip())
        if name.lower() == b"content-length" and known != value.strip():
            raise LinkError("the answer has two lengths")
    return fields


def _number(digits: bytes, form: re.Pattern[bytes], base: int) -> int:
    if form.fullmatch(digits) is None:
        raise LinkError("the answer has a malformed length")
    return int(digits, base)
