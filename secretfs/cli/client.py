"""The daemon's API from the command line: one request per connection over the unix socket.

Rule: every failure is a SecretfsError whose text is the daemon's without its gRPC prefix, or says that
the daemon was not reached and what to do. A request body stays the caller's: it is sent from where it
lies, never copied, so it can be wiped.
"""

import errno
import json
import os
import re
from _socket import AF_UNIX, SOCK_STREAM, socket  # without the enumerations of socket.py, a tenth of a listing's time
from collections.abc import Mapping

from secretfs.cli.host import socket_path
from secretfs.cli.http import Response, ResponseReader
from secretfs.errors import (
    AlreadyExistsError,
    BadRequestError,
    LinkError,
    LockedError,
    NotFoundError,
    OutOfSequenceError,
    PermissionDeniedError,
    SecretfsError,
    UnavailableError,
    UnimplementedError,
    WrongUnlockKeyError,
)

SILENCE_SECONDS = 30.0  # an update is answered within 2 s; a listing starts at once

_RECEIVE_BYTES = 64 * 1024
_GRPC_PREFIX = re.compile(r"rpc error: code = \w+ desc = ")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_REFUSALS: dict[int, type[SecretfsError]] = {
    400: BadRequestError,
    401: WrongUnlockKeyError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: AlreadyExistsError,
    501: UnimplementedError,
    503: UnavailableError,
}


class Client:
    """Requests to one daemon. Each blocks until the answer is whole, or 30 s pass without a byte."""

    def __init__(self, host: str, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._host = host
        self._path = socket_path(host)
        self._silence_seconds = silence_seconds

    def get(self, path: str, query: Mapping[str, str] | None = None) -> object:
        """The decoded answer."""
        return self._decoded(self._request("GET", path, query, b""))

    def get_part(self, path: str, query: Mapping[str, str]) -> tuple[object, str]:
        """The decoded answer, and the number behind which the next part is, or nothing (control/api/auditing.py)."""
        response = self._request("GET", path, query, b"")
        last = response.fields.get(b"secretfs-last", b"")
        return self._decoded(response), last.decode() if last.isdigit() else ""

    def post(self, path: str, body: bytes | bytearray | memoryview, query: Mapping[str, str] | None = None) -> object:
        """The decoded answer to a JSON body; None when it is empty."""
        return self._decoded(self._request("POST", path, query, body))

    def delete(self, path: str) -> object:
        """The decoded answer; None when it is empty."""
        return self._decoded(self._request("DELETE", path, None, b""))

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | bytearray | memoryview
    ) -> Response:
        head = _head(method, path, query, len(body) if method == "POST" else None)
        try:
            return self._exchanged(head, body)
        except TimeoutError:
            seconds = f"{self._silence_seconds:g} s"
            raise self._unreachable(f"no answer for {seconds}", "look at the daemon's log") from None
        except OSError as exc:
            raise self._unreachable((exc.strerror or str(exc)).lower(), _hint(exc)) from None
        except LinkError as exc:
            raise self._unreachable(str(exc), "is another program listening there?") from None

    def _exchanged(self, head: bytes, body: bytes | bytearray | memoryview) -> Response:
        connection = socket(AF_UNIX, SOCK_STREAM)
        try:
            connection.settimeout(self._silence_seconds)
            connection.connect(self._path)
            return _exchange(connection, head, body)
        finally:
            connection.close()

    def _unreachable(self, reason: str, hint: str) -> UnavailableError:
        failure = UnavailableError(f"cannot reach the daemon at {self._host}: {reason}")
        failure.add_note(hint)
        return failure

    def _decoded(self, response: Response) -> object:
        try:
            value: object = json.loads(response.body) if response.body.strip() else None
        except (ValueError, RecursionError):
            value = None
            if response.status < 400:
                raise self._unreachable("the answer is not JSON", "is another program listening there?") from None
        if response.status >= 400:
            raise _refusal(response.status, value)
        if response.status >= 300:
            raise self._unreachable(f"HTTP status {response.status}", "is another program listening there?")
        return value


def quoted(text: str) -> str:
    """One path segment or query part, percent-encoded."""
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in os.fsencode(text))


def encoded(value: object) -> bytes:
    """A request body that holds no secret."""
    return json.dumps(value).encode()


def _head(method: str, path: str, query: Mapping[str, str] | None, length: int | None) -> bytes:
    target = path
    if query:
        target += "?" + "&".join(f"{quoted(key)}={quoted(value)}" for key, value in query.items())
    lines = [f"{method} {target} HTTP/1.1", "Host: secretfs", "Connection: close"]
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _exchange(connection: socket, head: bytes, body: bytes | bytearray | memoryview) -> Response:
    try:
        connection.sendall(head)
        connection.sendall(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # a server may refuse before it has read the whole body; the reason is waiting to be read
    reader = ResponseReader()
    while True:
        data = connection.recv(_RECEIVE_BYTES)
        response = reader.feed(data) if data else reader.end()
        if response is not None:
            return response


def _hint(exc: OSError) -> str:
    if exc.errno in (errno.EACCES, errno.EPERM):
        return "run it as root, or as a member of the group secretfs"
    if exc.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return "is it running? start it with 'secretfs daemon', or name its socket with --host"
    return "look at the daemon's log"


def _refusal(status: int, value: object) -> SecretfsError:
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(message, str) or not message:
        message = f"the daemon answered with HTTP status {status}"
    text = _GRPC_PREFIX.sub("", message, count=1) if message.startswith("rpc error: ") else message
    if text == "update out of sequence":
        return OutOfSequenceError(text)
    if text == str(LockedError()):
        locked = LockedError()
        locked.add_note("secretfs swarm unlock")
        return locked
    return _REFUSALS.get(status, SecretfsError)(text)
