"""A supervisor that goes away does not end fs. It serves on, and waits for another one to give everything to.

The mount, the arena and the listening sockets are descriptors: as long as fs holds one of each, nothing is lost. Who
connects to the handover socket as root gets them all, and with them fs itself. Nobody is let in while there is a
supervisor.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from secretfs.fs import log
from secretfs.link import codec, serving
from secretfs.link.spawn import FsStart
from secretfs.linux import peer, seqpacket

ORPHAN_SECONDS: Final = 30  # then the plaintext is wiped
_BACKLOG: Final = 8
_ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Estate:
    """What there is to give. All of it is inherited, and stays open to the end."""

    fuse_fd: int
    arena_fd: int
    api_fd: int
    attach_fd: int
    listener: socket.socket
    ring: tuple[int, ...]  # the ring of opens and its eventfd; none where an older supervisor made none
    arena_bytes: int
    device: str
    init: str

    @classmethod
    def of(cls, start: FsStart) -> "Estate":
        """As the supervisor left it. From here on it is fs that listens: who connects learns of *its* pid and uid."""
        kept = (start.fuse_fd, start.arena_fd, start.api_fd, start.attach_fd)
        ring = (start.ring_fd, start.ring_event_fd) if start.ring_fd >= 0 else ()
        for fd in (*kept, *ring):
            os.set_inheritable(fd, False)
        listener = seqpacket.adopt(start.handover_fd)
        listener.listen(_BACKLOG)
        return cls(*kept, listener, ring, start.arena_bytes, start.device, start.init)

    async def given(self, usable: Callable[[], int], ready: trio.Event) -> socket.socket | None:
        """Give everything to the first supervisor that comes; the socket to it, or None when none came in time.

        ``usable``: bytes of the arena, as of the moment. An fs that does not serve yet is nothing to give.
        """
        with trio.move_on_after(ORPHAN_SECONDS):
            await ready.wait()
            while True:
                await trio.lowlevel.wait_readable(self.listener)
                with contextlib.suppress(OSError):  # who came is gone again
                    connection, _ = self.listener.accept()
                    with connection:
                        return self._given(connection, usable())
        return None

    def _given(self, connection: socket.socket, usable: int) -> socket.socket:
        who = peer.credentials(connection)
        if who.uid != _ROOT:
            log.error("handover refused", uid=who.uid, pid=who.pid)
            raise PermissionError(who.uid)
        frame = serving.Handover(self.arena_bytes, usable, f"{self.device} {self.init}")
        ours, theirs = seqpacket.pair()
        kept = (self.fuse_fd, self.arena_fd, self.api_fd, self.attach_fd, self.listener.fileno(), *self.ring)
        with theirs:
            try:
                seqpacket.send(connection, codec.encode(frame), (theirs.fileno(), *kept))
            except OSError:
                ours.close()
                raise
        log.info("handed over", supervisor=who.pid)
        return ours
