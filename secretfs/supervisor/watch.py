"""Who is heard, and who is dead: the one place in which the supervisor waits."""

import contextlib
import selectors
import signal
import socket
from collections.abc import Callable

from secretfs.supervisor import log
from secretfs.supervisor.child import BEAT_SECONDS, GONE, Child, Stray, strays


class Watch:
    """Children by their sockets and their ends, signals by a socket; and the dead that are not reaped yet."""

    def __init__(self, *, besides: int) -> None:
        """``besides``: the one child of the program before exec that lives on, 0 for none."""
        self._selector = selectors.DefaultSelector()
        self._dead: list[Child | Stray] = [*strays(besides=besides)]

    def listen_to_signals(self) -> None:
        """Whatever signal has a handler wakes ``turn``."""
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
        self._wakeup = (reading, writing)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ, lambda: _drain(reading))

    def listen_to(self, child: Child, hear: Callable[[Child], None]) -> None:
        """``hear`` it whenever it has said something; its end wakes ``turn``."""
        self._selector.register(child.end, selectors.EVENT_READ, lambda: hear(child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: None)

    def turn(self) -> None:
        """Hear what there is, or wait for it until the next beat is due."""
        for key, _ in self._selector.select(BEAT_SECONDS):
            key.data()

    def forget(self, child: Child, cause: str) -> int | None:
        """Kill it and hear it no more; its exit code, if it has one already."""
        code = child.last_word() if cause == GONE else None
        log.warning("child died", module=child.module, pid=child.pid, cause=cause, code=code)
        self._selector.unregister(child.end)
        self._selector.unregister(child.pidfd)
        child.kill()
        self._dead.append(child)
        return code

    def reap(self) -> None:
        """Take the exit codes of those that were forgotten."""
        self._dead = [child for child in self._dead if child.exit_code() is None]


def _drain(end: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while end.recv(512):
            pass
