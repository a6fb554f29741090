"""The real API of control, with its store and keys, on a real socket and in a thread; only fs is missing."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from secretfs.control.api import server
from secretfs.control.api.application import api
from secretfs.control.audit import Caller
from secretfs.control.chain import Chain
from secretfs.control.records.cluster import cluster
from secretfs.control.trees import Trees
from secretfs.control.usecases.commits import Commits
from secretfs.control.usecases.keys import Rotation
from secretfs.control.usecases.swarm import Swarm
from secretfs.control.usecases.tasks import AttachRequest, Tasks
from secretfs.control.values import Values
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind, TaskId
from secretfs.core.plan import Tree
from secretfs.core.task import Leader
from secretfs.linux import process
from secretfs.store.sqlite import opened

PATIENCE_SECONDS = 20


class NoMounts:
    """No tree is mounted anywhere."""

    async def drop_mounts(self, _task: object) -> int:
        await trio.lowlevel.checkpoint()
        return 0


class NoFs:
    """Acknowledges every tree."""

    async def put_tree(self, _: TaskId, __: Tree) -> None:
        await trio.lowlevel.checkpoint()

    async def drop_tree(self, _: TaskId) -> None:
        await trio.lowlevel.checkpoint()


class RealDaemon:
    """A handle on the API in its thread."""

    def __init__(self, directory: Path) -> None:
        self.host = f"unix://{directory / 'api.sock'}"
        self._directory = directory
        self._ready = threading.Event()
        self._stop = trio.Event()
        self._tasks: Tasks
        self._token: trio.lowlevel.TrioToken

    def attach(self, service: str | None = None, *names: str) -> str:
        """Attach this process, as the attach socket would; the task's id."""
        return trio.from_thread.run(self._attach, service, names, trio_token=self._token)

    async def _attach(self, service: str | None, names: tuple[str, ...]) -> str:
        me = os.getpid()
        grants = tuple(GrantRequest(Kind.SECRET, name, name) for name in names)
        leader = Leader(process.boot_id(), me, process.start_ticks(me))
        request = AttachRequest(service, grants, "/run/secrets", False)
        attached = await self._tasks.attach(Caller(uid=0, gid=0, pid=me), request, leader)
        await self._tasks.running(attached.task.id, os.stat("/proc/self/ns/mnt").st_ino)
        return attached.task.id

    def run(self) -> None:
        """Serve until ``end``."""
        trio.run(self._serve)

    async def _serve(self) -> None:
        async with opened(self._directory / "store.db") as store, trio.open_nursery() as nursery:
            commits, trees = Commits(store, Chain(bytes(32))), Trees(store)
            self._tasks = Tasks(commits, trees, NoFs(), NoMounts())
            self._token = trio.lowlevel.current_trio_token()
            keys = await cluster(store, bytes(32))
            values = Values(store, keys)
            swarm, rotation = Swarm(commits, keys, unlocked=trio.lowlevel.checkpoint), Rotation(commits, keys, values)
            nursery.start_soon(swarm.run)
            nursery.start_soon(rotation.run)
            handler = api(commits, values, self._tasks, swarm, rotation)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(self.host.removeprefix("unix://"))
                listener.listen()
                await nursery.start(partial(server.serve, listener, handler, stop=self._stop))
                self._ready.set()
                await self._stop.wait()
                nursery.cancel_scope.cancel()

    def await_ready(self) -> None:
        """Return when it answers."""
        assert self._ready.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        """Stop serving."""
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)


@contextmanager
def real_daemon(directory: Path) -> Iterator[RealDaemon]:
    """A daemon in the directory, until the block ends."""
    daemon = RealDaemon(directory)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        daemon.await_ready()
        yield daemon
    finally:
        daemon.end()
        thread.join(PATIENCE_SECONDS)
