"""What outlives fs and control: made at a start, or taken over from an fs whose supervisor is gone; and how each of the
two is started on it.
"""

import os
from dataclasses import dataclass
from functools import partial
from typing import Final

from secretfs.errors import SetupError
from secretfs.link.spawn import ControlStart, FsStart, SupervisorStart
from secretfs.supervisor import log, mountpoint, setup
from secretfs.supervisor.arena import ArenaMemory
from secretfs.supervisor.child import Child
from secretfs.supervisor.connection import Connection
from secretfs.supervisor.handover import Legacy, fs_lives, legacy
from secretfs.supervisor.record import Record
from secretfs.supervisor.ring import OpensRing
from secretfs.supervisor.setup import Ids, Sockets
from secretfs.supervisor.takeover import end_holder
from secretfs.supervisor.upgrade import check

FS: Final = "secretfs.fs"
CONTROL: Final = "secretfs.control"


@dataclass(slots=True)
class Holdings:
    """``locks`` last as long as this does; ``fs``: one that was found alive, and serves. ``outdated``: it cannot
    do all that this version does.
    """

    locks: tuple[int, int]
    arena: ArenaMemory
    connection: Connection
    sockets: Sockets
    ring: OpensRing
    fs: Child | None
    record: Record
    outdated: bool = False

    def touch(self, path: str) -> None:
        """Have the kernel tell who watches this path of the file system. Raises OSError."""
        self.connection.touch(path, self.arena.touch)

    def mount_anew(self, mountpoint: str) -> None:
        """After the end of the connection. Raises SetupError."""
        self.connection = Connection.made(mountpoint)
        self.record.add(self.connection.device)


def claimed(start: SupervisorStart, control: Ids) -> Holdings:
    """Everything, with the directories locked. Raises SetupError; an fs that was found then waits for another."""
    setup.made_directory(start.runtime_dir, "the runtime directory", mode=0o755, owners=(0,))
    if start.takeover:
        end_holder(start.runtime_dir, first=lambda: _check_takeover(start, control))
    lock = setup.locked(start.runtime_dir, partial(_let_go, start))
    record = Record.found(start.runtime_dir)
    found = legacy(start.runtime_dir, start.mountpoint)
    if found is not None:
        record.check(start.state_dir, start.mountpoint, who=f"fs (pid {found.pid}) of the last daemon")
    _make_state(start, control)
    locks = (lock, setup.locked(start.state_dir))
    setup.give_state(start.state_dir, control)
    record.serve(start.state_dir, start.mountpoint)
    return _made(start, locks, record) if found is None else _adopted(start, locks, record, found)


def _check_takeover(start: SupervisorStart, control: Ids) -> None:
    """All that can be found wrong before the daemon that runs is ended."""
    record = Record.found(start.runtime_dir)
    record.check(start.state_dir, start.mountpoint, who="the daemon that runs")
    _make_state(start, control)
    check(start)


def _make_state(start: SupervisorStart, control: Ids) -> None:
    setup.made_directory(start.state_dir, "the state directory", mode=0o700, owners=(0, control.uid))


def _let_go(start: SupervisorStart, holder: int, fd: int) -> None:
    """A thread of the dead supervisor may wait for an answer of an fs that is dead as well, and keeps all locks: no
    signal ends that, the end of the connection does.
    """
    if setup.holds(holder, fd) and not fs_lives(start.runtime_dir, holder):
        mountpoint.take_away(start.mountpoint)


def _made(start: SupervisorStart, locks: tuple[int, int], record: Record) -> Holdings:
    record.add_mounted(start.mountpoint)
    mountpoint.clear(start.mountpoint)
    arena = ArenaMemory.made(start.arena_bytes)
    ring = OpensRing.made()
    sockets = Sockets.made(start.runtime_dir)
    connection = Connection.made(start.mountpoint)  # last: whatever else is refused leaves no mount behind
    record.add(connection.device)
    return Holdings(locks, arena, connection, sockets, ring, None, record)


def _adopted(start: SupervisorStart, locks: tuple[int, int], record: Record, found: Legacy) -> Holdings:
    try:
        arena = ArenaMemory(found.arena_fd, found.arena_bytes, found.usable)
        connection = Connection(start.mountpoint, found.fuse_fd, found.init)
        fs = Child.adopted(FS, found.end, found.pidfd)
        ring = found.ring or OpensRing.made()
    except OSError as exc:
        raise SetupError(f"what fs has given cannot be used: {exc}") from exc
    log.info("fs adopted", pid=fs.pid, device=found.device, arena_bytes=found.arena_bytes)
    if found.arena_bytes != start.arena_bytes:
        log.warning("the arena keeps its size until the next start without a living fs", bytes=found.arena_bytes)
    record.add(connection.device)
    return Holdings(locks, arena, connection, found.sockets, ring, fs, record, outdated=found.ring is None)


def started_fs(held: Holdings, ids: Ids, *, spin_us: int, standby: bool) -> Child:
    """An fs; a standby waits for Go. Raises OSError."""
    fds = (held.connection.fd, held.arena.fd, *held.sockets.fds)
    words = FsStart(
        0,
        *fds,
        arena_bytes=held.arena.layout.data_bytes,
        usable_bytes=held.arena.usable,
        device=held.connection.device,
        uid=ids.uid,
        gid=ids.gid,
        spin_us=spin_us,
        standby=int(standby),
        init=held.connection.init.hex(),
        ring_fd=held.ring.fd,
        ring_event_fd=held.ring.event_fd,
    ).words()
    return Child.started(FS, words[1:], (*fds, *held.ring.fds))


def started_control(held: Holdings, ids: Ids, start: SupervisorStart) -> Child:
    """A control. Raises OSError."""
    api, attach, _ = held.sockets.fds
    api_gid = setup.api_gid()
    services = setup.services_directory(start.runtime_dir, ids.uid, api_gid)
    try:
        fds = (api, attach, services, *held.ring.fds)
        control = ControlStart(
            0,
            api,
            attach,
            ids.uid,
            ids.gid,
            start.state_dir,
            start.root_key,
            services,
            api_gid,
            *held.ring.fds,
            start.audit_bytes,
            start.audit_seconds,
        )
        return Child.started(CONTROL, control.words()[1:], fds)
    finally:
        os.close(services)
