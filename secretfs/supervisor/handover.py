"""What an fs that has lost its supervisor gives to the next one (fs/handover.py), and what is found on the way.

An fs that does not answer is ended here: with no supervisor it would keep its plaintext, and its mount, for ever.
"""

import contextlib
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import Final

from secretfs.errors import LinkError, SetupError
from secretfs.link import codec, serving
from secretfs.link.layout import ArenaLayout
from secretfs.linux import mountinfo, peer, process, seqpacket
from secretfs.linux.descriptors import receive_fds
from secretfs.supervisor import log
from secretfs.supervisor.ring import OpensRing
from secretfs.supervisor.setup import Sockets

SOCKET: Final = "handover.sock"
HANDOVER_SECONDS: Final = 5.0  # an fs that is still starting gives nothing before it serves
_STANDBY_SECONDS: Final = 1.5  # where fs is dead and its socket is not: for a standby to take its place
_END_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02
_FDS: Final = 6
_RING_FDS: Final = 2  # an older fs has no ring of opens
_ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Legacy:
    """A living fs, and all that it kept."""

    end: socket.socket
    pidfd: int
    fuse_fd: int
    arena_fd: int
    sockets: Sockets
    ring: OpensRing | None
    arena_bytes: int
    usable: int
    device: str
    init: bytes

    @property
    def pid(self) -> int:
        """Of fs; 0 when it is gone."""
        return _pid(self.pidfd)

    def give_back(self) -> None:
        """Close everything but the pidfd: fs, if it lives, waits for another supervisor."""
        for end in (self.end, self.sockets.api, self.sockets.attach, self.sockets.handover):
            end.close()
        for fd in (self.fuse_fd, self.arena_fd, *(self.ring.fds if self.ring else ())):
            os.close(fd)


def legacy(runtime_dir: str, mountpoint: str) -> Legacy | None:
    """What the fs of a dead supervisor gives; None when there is none, or none that is of use: that one is ended.

    Only called with the lock held. Raises SetupError if it serves another mountpoint: then it goes on serving.
    """
    found = _connected(f"{runtime_dir}/{SOCKET}")
    if found is None:
        return None
    connection, pidfd = found
    with connection:
        given = _given(connection, pidfd)
    if given is None:
        log.warning("fs gave nothing: it is ended", pid=_pid(pidfd), seconds=HANDOVER_SECONDS)
        _end(pidfd)
        return None
    if _in_place(given, mountpoint):
        return given
    log.warning("the mount is gone: fs is ended", pid=_pid(pidfd), mountpoint=mountpoint)
    given.give_back()
    _end(pidfd)
    return None


def fs_lives(runtime_dir: str, supervisor: int) -> bool:
    """Whether the fs that this supervisor has left behind lives, or is starting and does not listen yet."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(HANDOVER_SECONDS)
        connection.connect(f"{runtime_dir}/{SOCKET}")
        who = peer.credentials(connection).pid
        return who == supervisor or process.alive(who)
    return False


def _connected(path: str) -> tuple[socket.socket, int] | None:
    """A connection to a living fs, and its pidfd. One that has just been started gets time to listen: until then it is
    the supervisor that the kernel names, or the fs before.
    """
    began = time.monotonic()
    patience = HANDOVER_SECONDS
    while time.monotonic() - began < patience:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(HANDOVER_SECONDS)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            return None
        with contextlib.suppress(OSError):
            pidfd = peer.pidfd(connection)
            pid = _pid(pidfd)
            if process.alive(pid) and pid != os.getpid():
                return connection, pidfd
            os.close(pidfd)
        if peer.credentials(connection).uid != _ROOT:
            patience = _STANDBY_SECONDS
        connection.close()
        select.select([], [], [], _LOOK_SECONDS)
    return None


def _given(connection: socket.socket, pidfd: int) -> Legacy | None:
    try:
        packet, fds, _flags = receive_fds(connection, codec.MAX_FRAME_BYTES, _FDS + _RING_FDS)
    except OSError:
        return None
    try:
        frame = codec.expect(codec.decode(packet), serving.Handover)
        device, init = frame.parts.split(" ")
        end, fuse_fd, arena_fd, api, attach, handover, *ring = fds
        if os.fstat(arena_fd).st_size != ArenaLayout(frame.arena_bytes).total:
            raise LinkError("the arena is of another size")
        raw = bytes.fromhex(init)
    except (LinkError, ValueError) as broken:
        log.error("handover refused", error=str(broken))
        for fd in fds:
            os.close(fd)
        return None
    sockets = Sockets.adopted(api, attach, handover)
    usable = frame.usable
    opens = OpensRing.adopted(ring)
    adopted = seqpacket.adopt(end)
    return Legacy(adopted, pidfd, fuse_fd, arena_fd, sockets, opens, frame.arena_bytes, usable, device, raw)


def _in_place(given: Legacy, mountpoint: str) -> bool:
    """Whether the mount is where it should be. Raises SetupError when it is elsewhere."""
    with contextlib.suppress(OSError):
        found = mountinfo.mount_at(mountpoint)
        if found and found.device == given.device:
            return True
    places = [mount.path for mount in mountinfo.mounts() if mount.device == given.device and mount.root == "/"]
    if places:
        given.give_back()
        raise SetupError(
            f"fs (pid {_pid(given.pidfd)}) of the last daemon serves {places[0]!r}: start with --mountpoint "
            f"{places[0]}, or end it first"
        )
    return False


def _end(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    process.died(pidfd, _END_SECONDS)
    os.close(pidfd)


def _pid(pidfd: int) -> int:
    try:
        return process.pid_of(pidfd)
    except ProcessLookupError:
        return 0
