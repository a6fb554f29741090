"""The client's end of the attach socket. The rule: every way in which the daemon may fail to answer is an
AttachError in words.

SOCK_SEQPACKET, one JSON object in each packet: the request; the answer with the trees' descriptors;
``{"Mounted": true}``; ``{"Go": true}``. Instead of an answer ``{"Error": text}`` may come, and then the end.
"""

import errno
import os
import struct
import time
from _socket import (
    AF_UNIX,
    MSG_CTRUNC,
    MSG_TRUNC,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from collections.abc import Mapping

from secretfs.errors import AttachError, LockedError
from secretfs.linux.descriptors import receive_fds
from secretfs.runtimes.messages import decoded, encoded

ANSWER_SECONDS = 30  # in a crowd we wait for our turn; a daemon that lives answers within a second
RETRY_SECONDS = 3.0  # a part of the daemon that died is back within one
_PAUSE_SECONDS = 0.05
MAX_REQUEST_BYTES = 64 * 1024  # what the daemon takes
MAX_ANSWER_BYTES = 192 * 1024  # what it sends: below the default send buffer of 208 KiB
MAX_TREES = 2

_NONSENSE = "the daemon's answer makes no sense: are secretfs run and the daemon of one version?"
_TIMEVAL = struct.Struct("@ll")


class Answer:
    """What the daemon gave: the task's id, a detached mount of each tree (secrets, then configs if there are any),
    and the files in them.
    """

    __slots__ = ("files", "task", "trees")

    def __init__(self, task: str, trees: list[int], files: list[dict[str, str]]) -> None:
        self.task = task
        self.trees = trees
        self.files = files


class Daemon(socket):
    """A connection to it, which ends with a block that it is given to. Without socket.py, see linux/descriptors.py."""

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _AwayError(AttachError):
    """Nobody listens, or who did is gone without a word: it may be back in a moment."""


def attached(path: str, request: Mapping[str, object]) -> "tuple[Daemon, Answer]":
    """Ask for a task; the caller closes the connection. A daemon that is restarted meanwhile is asked again."""
    until = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            return _attached_once(path, request)
        except _AwayError:
            if time.monotonic() > until:
                raise
        time.sleep(_PAUSE_SECONDS)


def _attached_once(path: str, request: Mapping[str, object]) -> "tuple[Daemon, Answer]":
    daemon = connected(path)
    try:
        return daemon, attach(daemon, request)
    except AttachError:
        daemon.close()
        raise


def connected(path: str) -> "Daemon":
    """A connection to the attach socket, with deadlines; the caller closes it."""
    connection = Daemon(AF_UNIX, SOCK_SEQPACKET)
    try:
        deadline = _TIMEVAL.pack(ANSWER_SECONDS, 0)  # SO_SNDTIMEO also limits connect, see unix(7) and socket(7)
        connection.setsockopt(SOL_SOCKET, SO_RCVTIMEO, deadline)
        connection.setsockopt(SOL_SOCKET, SO_SNDTIMEO, deadline)
        connection.connect(path)
    except OSError as exc:
        connection.close()
        raise _unreachable(path, exc) from None
    return connection


def attach(daemon: socket, request: Mapping[str, object]) -> Answer:
    """Ask for a task. The descriptors that come are close-on-exec, like every other."""
    packet = encoded(request)
    if len(packet) > MAX_REQUEST_BYTES:
        raise AttachError(f"too many grants on one command line: {len(packet)} bytes, over {MAX_REQUEST_BYTES}")
    try:
        daemon.send(packet)
    except BrokenPipeError:
        pass  # refused before it was read: the reason is waiting
    except OSError as exc:
        raise _lost(exc) from None
    answer, trees = _received(daemon)
    task, files = answer.get("Task"), answer.get("Files")
    if not trees or not isinstance(task, str) or not isinstance(files, list):
        raise AttachError(_NONSENSE)
    return Answer(task, trees, files)


def mounted(daemon: socket) -> None:
    """Say that the trees are in place, and wait for the word that the program may start."""
    try:
        daemon.send(b'{"Mounted": true}')
    except BrokenPipeError:
        pass  # the reason is waiting
    except OSError as exc:
        raise _lost(exc) from None
    answer, _ = _received(daemon)
    if answer.get("Go") is not True:
        raise AttachError("the daemon did not let the program start")


def _received(daemon: socket) -> tuple[dict[str, object], list[int]]:
    """One packet with its descriptors, which are closed again if it is a refusal or no message at all."""
    try:
        packet, fds, flags = _packet(daemon)
    except OSError as exc:
        raise _lost(exc) from None
    try:
        return _decoded(packet, flags), fds
    except AttachError:
        for fd in fds:
            os.close(fd)
        raise


def _packet(daemon: socket) -> tuple[bytes, list[int], int]:
    """The next packet. A daemon that refused us before it read our request leaves ECONNRESET first, then its
    reason.
    """
    try:
        return receive_fds(daemon, MAX_ANSWER_BYTES, MAX_TREES)
    except ConnectionResetError:
        return receive_fds(daemon, MAX_ANSWER_BYTES, MAX_TREES)


def _decoded(packet: bytes, flags: int) -> dict[str, object]:
    if not packet:
        raise _with_hint(_AwayError("the daemon ended the connection"), "look at the daemon's log")
    try:
        message = decoded(packet)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or flags & (MSG_TRUNC | MSG_CTRUNC):
        raise AttachError(_NONSENSE)
    if "Error" in message:
        raise _refusal(str(message["Error"]))
    return message


def _refusal(text: str) -> AttachError:
    refusal = AttachError(text)
    return _with_hint(refusal, "secretfs swarm unlock") if text == str(LockedError()) else refusal


def _unreachable(path: str, exc: OSError) -> AttachError:
    if exc.errno in (errno.ENOENT, errno.ECONNREFUSED):
        away = AttachError if exc.errno == errno.ENOENT else _AwayError
        return _with_hint(
            away(f"no daemon is listening on {path}"),
            "is it running? start it with 'secretfs daemon', or name its socket with --host",
        )
    if exc.errno in (errno.EACCES, errno.EPERM):
        return _with_hint(AttachError(f"no permission to connect to {path}"), "run it as root")
    if exc.errno == errno.EAGAIN:
        return AttachError(f"the daemon on {path} is busy: no room for {ANSWER_SECONDS} s")
    return AttachError(f"cannot connect to {path}: {exc.strerror or exc}")


def _lost(exc: OSError) -> AttachError:
    if exc.errno == errno.EAGAIN:
        return _with_hint(AttachError(f"the daemon gave no answer for {ANSWER_SECONDS} s"), "look at the daemon's log")
    return _with_hint(_AwayError(f"the connection to the daemon was lost: {exc.strerror}"), "look at the daemon's log")


def _with_hint(failure: AttachError, hint: str) -> AttachError:
    failure.add_note(hint)
    return failure


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self
