"""fs: adopt what the supervisor left open, lock in, find the trees in the arena, serve the kernel.

Everything is imported before the process locks itself in; nothing is opened afterwards. A supervisor that goes away is
waited for; when none has come after ``ORPHAN_SECONDS``, the plaintext is wiped and fs ends.
"""

import gc
import os
import resource
import socket
import sys
from collections.abc import Callable
from mmap import mmap
from typing import Final

import pyfuse3
import trio

from secretfs.fs import log, loop
from secretfs.fs.arena import Arena
from secretfs.fs.inodes import Inodes
from secretfs.fs.journal import Journal
from secretfs.fs.links import ControlLink, SupervisorLink
from secretfs.fs.manifest import Manifest
from secretfs.fs.operations import Operations
from secretfs.fs.trees import Trees
from secretfs.link import frames
from secretfs.link.layout import ArenaLayout
from secretfs.link.spawn import FsStart
from secretfs.linux import landlock, memory, process, seqpacket
from secretfs.linux.preload import preload

ORPHAN_SECONDS: Final = 30
EXIT_UNMOUNTED: Final = 3  # the connection to the kernel has ended: a successor could not serve on it either


def main() -> int:
    """Serve as ``sys.argv`` says (link/spawn.py); the exit code is 0 when the end was in order."""
    start = FsStart.parse(sys.argv[1:])
    layout = ArenaLayout(start.arena_bytes)
    arena_memory = memory.mapped(start.arena_fd, layout.total)
    os.close(start.arena_fd)
    memory.keep_out_of_dumps(arena_memory)
    memory.keep_out_of_forks(arena_memory)
    preload()
    gc.collect()
    gc.freeze()
    _lock_in(start)
    return trio.run(_serve, start, layout, arena_memory)


def _lock_in(start: FsStart) -> None:
    """Own uid, no capabilities, no new privileges, no files, no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if start.uid != os.getuid():
        process.drop_bounding_set()
        process.drop_to(start.uid, start.gid)
    process.drop_capabilities()
    process.set_dumpable(False)
    landlock.restrict()


async def _serve(start: FsStart, layout: ArenaLayout, arena_memory: mmap) -> int:
    """The exit code: 0, or EXIT_UNMOUNTED."""
    async with trio.open_nursery() as nursery:
        supervisor = SupervisorLink(seqpacket.adopt(start.supervisor_fd))
        manifest = Manifest(Journal(arena_memory, layout))
        arena = Arena(arena_memory, layout, start.usable_bytes, manifest.slots.values())
        inodes = Inodes(manifest, arena)
        trees = Trees(manifest, arena, inodes, nursery=nursery, grow=supervisor.grow)
        ready = trio.Event()
        _open_session(start, Operations(manifest, inodes, arena, released=trees.released), ready)

        def wired(end: socket.socket, mailbox: int) -> None:
            nursery.start_soon(_serve_control, ControlLink(end, mailbox, trees), ready)

        nursery.start_soon(_serve_supervisor, supervisor, wired, arena, manifest, nursery.cancel_scope)
        nursery.start_soon(_settle, trees, supervisor, ready)
        if await loop.serve():
            log.info("to be replaced", restarts=loop.MAX_RESTARTS)
            nursery.cancel_scope.cancel()
            return 0
        log.warning("the connection to the kernel has ended")
        nursery.cancel_scope.cancel()
        return EXIT_UNMOUNTED
    return 0


def _open_session(start: FsStart, operations: Operations, ready: trio.Event) -> None:
    """Give libfuse the recorded INIT in a pipe; inside its INIT handling the device takes the pipe's place.

    The reply then goes to the kernel: to a first fs's joy, and for nothing to a successor's (ENOENT, which libfuse
    ignores). The recipe is measured: no patch of pyfuse3 or libfuse.
    """
    initialised = False

    def put_device_in_place() -> None:
        nonlocal initialised
        os.dup2(start.fuse_fd, start.init_fd, inheritable=False)
        os.close(start.fuse_fd)
        initialised = True

    operations.initialised = put_device_in_place
    readiness = loop.Readiness(start.spin_us / 1e6, initialised=lambda: initialised, ready=ready.set)
    loop.install(readiness)
    os.set_inheritable(start.init_fd, False)
    pyfuse3.init(operations, f"/dev/fd/{start.init_fd}", {"default_permissions"})


async def _serve_supervisor(
    supervisor: SupervisorLink,
    wired: Callable[[socket.socket, int], None],
    arena: Arena,
    manifest: Manifest,
    scope: trio.CancelScope,
) -> None:
    if not await supervisor.run(wired=wired):
        await _orphaned(arena, manifest)
    scope.cancel()


async def _settle(trees: Trees, supervisor: SupervisorLink, ready: trio.Event) -> None:
    """Notifications are due from before, but none may go out before INIT was handled."""
    await ready.wait()
    supervisor.send(frames.Ready())
    await trees.settle()
    await trees.end_drains()


async def _serve_control(link: ControlLink, ready: trio.Event) -> None:
    await ready.wait()
    await link.run()


async def _orphaned(arena: Arena, manifest: Manifest) -> None:
    """The supervisor is gone: serve on for a while, then leave nothing behind."""
    log.warning("the supervisor is gone", seconds=ORPHAN_SECONDS)
    try:
        await trio.sleep(ORPHAN_SECONDS)
    finally:  # or the connection was aborted meanwhile, by a daemon that was started anew
        for slot in tuple(manifest.slots.values()):
            arena.wipe(slot.first_page, slot.size)
    log.warning("wiped: no supervisor came")
