"""fs: adopt what the supervisor left open, lock in, find the trees in the arena, serve the kernel.

Everything is imported before the process locks itself in; nothing is opened afterwards, and once INIT was handled no
system call is left that could. A supervisor that goes away is waited for (handover.py); when none comes, the plaintext
is wiped and fs ends.
"""

import contextlib
import gc
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from mmap import mmap
from typing import Final

import trio

from secretfs.fs import log, loop
from secretfs.fs.arena import Arena
from secretfs.fs.hand import Hand
from secretfs.fs.handover import ORPHAN_SECONDS, Estate
from secretfs.fs.inodes import Inodes
from secretfs.fs.journal import Journal
from secretfs.fs.links import ControlLink, SupervisorLink
from secretfs.fs.manifest import Manifest
from secretfs.fs.opens import opened_ring
from secretfs.fs.operations import Operations
from secretfs.fs.session import Session
from secretfs.fs.standby import called
from secretfs.fs.syscalls import confine
from secretfs.fs.trees import Trees
from secretfs.link import pulse
from secretfs.link.layout import ArenaLayout
from secretfs.link.spawn import FsStart
from secretfs.linux import landlock, memory, process, seqpacket
from secretfs.linux.preload import preload

EXIT_UNMOUNTED: Final = 3  # the connection to the kernel has ended: a successor could not serve on it either

Wired = Callable[[socket.socket, int], None]


def main() -> int:
    """Serve as ``sys.argv`` says (link/spawn.py); the exit code is 0 when the end was in order."""
    start = FsStart.parse(sys.argv[1:])
    layout = ArenaLayout(start.arena_bytes)
    arena_memory = memory.mapped(start.arena_fd, layout.total)
    memory.keep_out_of_dumps(arena_memory)
    memory.keep_out_of_forks(arena_memory)
    preload()
    gc.collect()
    gc.freeze()
    _lock_in(start)
    host = loop.Host(start.spin_us / 1e6)
    return host.run(_serve, host, start, layout, arena_memory)


def _lock_in(start: FsStart) -> None:
    """Own uid, no capabilities, no new privileges, no files, no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError):  # more than the hard limit, without CAP_SYS_RESOURCE
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (start.arena_bytes, start.arena_bytes))
    if os.getuid() == 0:
        process.drop_bounding_set()
    if start.uid != os.getuid():
        process.drop_to(start.uid, start.gid)
    process.drop_capabilities()
    process.set_dumpable(False)
    landlock.restrict()


async def _serve(host: loop.Host, start: FsStart, layout: ArenaLayout, arena_memory: mmap) -> int:
    """The exit code: 0, or EXIT_UNMOUNTED."""
    end = seqpacket.adopt(start.supervisor_fd)
    operations = Operations()
    session = Session(start, operations)
    session.handle_init()
    usable = await called(end) if start.standby else start.usable_bytes
    if usable is None:
        return 0
    estate, supervisor, ready = Estate.of(start), SupervisorLink(end), trio.Event()
    manifest = Manifest(Journal(arena_memory, layout))
    arena = Arena(arena_memory, layout, usable, manifest.slots.values())
    inodes = Inodes(manifest, arena)
    opens = opened_ring(start.ring_fd, start.ring_event_fd)
    async with trio.open_nursery() as nursery:
        trees = Trees(manifest, arena, inodes, nursery=nursery, grow=supervisor.grow)
        hand = Hand(arena_memory)
        operations.serve(manifest, inodes, arena, opens, takes=hand.takes, released=trees.released)
        host.begin(session.device, ready=ready.set, answers=opens)
        session.begin()
        wired = _controls(trees, ready, nursery)
        given = partial(estate.given, lambda: arena.usable, ready)
        nursery.start_soon(_serve_supervisors, supervisor, wired, given, nursery.cancel_scope)
        nursery.start_soon(_settle, trees, supervisor, ready)
        try:
            return await _served_kernel(host, supervisor)
        finally:
            nursery.cancel_scope.cancel()
            if supervisor.alone:
                _wipe(arena, manifest)
    return 0


async def _served_kernel(host: loop.Host, supervisor: SupervisorLink) -> int:
    """To the end of the connection, or until fs should be replaced, if there is anybody to do it; the exit code."""
    while await host.serve():
        if not supervisor.alone:
            log.info("to be replaced", restarts=loop.MAX_RESTARTS)
            return 0
    log.warning("the connection to the kernel has ended")
    return EXIT_UNMOUNTED


async def _serve_supervisors(
    supervisor: SupervisorLink,
    wired: Wired,
    given: Callable[[], Awaitable[socket.socket | None]],
    scope: trio.CancelScope,
) -> None:
    """One after the other, until one says stop or none comes any more."""
    while not await supervisor.run(wired=wired):
        log.warning("the supervisor is gone", seconds=ORPHAN_SECONDS)
        end = await given()
        if end is None:
            log.warning("no supervisor came")
            break
        supervisor.goes_on(end)
    scope.cancel()


async def _settle(trees: Trees, supervisor: SupervisorLink, ready: trio.Event) -> None:
    """Notifications are due from before, but none may go out before INIT was handled."""
    await ready.wait()
    confine()
    supervisor.send(pulse.Ready())
    await trees.settle()
    await trees.end_drains()


def _controls(trees: Trees, ready: trio.Event, nursery: trio.Nursery) -> Wired:
    """One control at a time: the words of the last one are read to their end before those of the next."""
    turn = trio.Lock()

    async def serve(link: ControlLink) -> None:
        await ready.wait()
        async with turn:
            await link.run()

    return lambda end, mailbox: nursery.start_soon(serve, ControlLink(end, mailbox, trees))


def _wipe(arena: Arena, manifest: Manifest) -> None:
    """What the supervisor would do, if there were one."""
    for slot in tuple(manifest.slots.values()):
        arena.wipe(slot.first_page, slot.size)
    log.warning("wiped")
