"""Taking connections. Rule: a machine that has no room for one is waited for; nothing else is survived."""

import errno
import socket
from typing import Final

import trio

from secretfs.control import log

OVERLOADED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})  # accept(2)
BATCH: Final = 64
PAUSE_SECONDS: Final = 0.1  # as trio's own serve_listeners


async def accepted(listener: trio.socket.SocketType, name: str) -> trio.socket.SocketType:
    """The next connection; the caller closes it. ``name`` is what the log calls the socket."""
    while True:
        try:
            connection, _ = await listener.accept()
        except ConnectionAbortedError:
            continue
        except OSError as exc:
            if exc.errno not in OVERLOADED:
                raise
            log.error("a connection cannot be accepted", socket=name, error=exc.strerror)
            await trio.sleep(PAUSE_SECONDS)
        else:
            return connection


async def accepted_at_once(listener: socket.socket, name: str) -> list[socket.socket]:
    """All connections that wait, up to BATCH; at least one. The caller closes them.

    One by one costs ten times as much: who floods the backlog must not be quicker than who empties it.
    """
    found: list[socket.socket] = []
    while not found:
        await trio.lowlevel.wait_readable(listener)
        try:
            while len(found) < BATCH:
                found.append(listener.accept()[0])
        except (BlockingIOError, ConnectionAbortedError):
            continue
        except OSError as exc:
            if exc.errno not in OVERLOADED:
                raise
            log.error("a connection cannot be accepted", socket=name, error=exc.strerror)
            await trio.sleep(PAUSE_SECONDS)
    return found
