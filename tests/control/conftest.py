"""A control process without its neighbours: the real store, the real keys, the real API on a real socket."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from control_harness import Client, Control, Running, control_of, listening
from fakes import FakeBroker

from secretfs.control.api import server
from secretfs.control.api.server import Limits
from secretfs.control.assembly import assembled, serve
from secretfs.crypto.keyring import Keyring
from secretfs.store.sqlite import opened


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    async with opened(tmp_path / "store.db") as store:
        yield control_of(store, Keyring.fresh())


@pytest.fixture
async def serving(tmp_path: Path, nursery: trio.Nursery) -> Callable[..., Awaitable[Client]]:
    """Serve a handler on a socket in tmp_path until the test ends."""

    async def serve(
        handler: server.Handler, limits: Limits = server.DEFAULT_LIMITS, stop: trio.Event | None = None
    ) -> Client:
        path = tmp_path / "api.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()

        async def run(task_status: trio.TaskStatus[None]) -> None:
            with listener:
                end = trio.Event() if stop is None else stop
                await server.serve(listener, handler, stop=end, limits=limits, task_status=task_status)

        await nursery.start(run)
        return Client(path)

    return serve


@pytest.fixture
async def client(control: Control, serving: Callable[..., Awaitable[Client]]) -> Client:
    return await serving(control.handler())


@pytest.fixture
async def serving_all(tmp_path, nursery):
    """Everything but the sockets to the neighbours, over the same store and fs as control."""
    api, attach = tmp_path / "api.sock", tmp_path / "attach.sock"

    async def start(control: Control) -> Running:
        parts = await assembled(store=control.store, keys=control.keys)
        running = Running(Client(api), control.fs, FakeBroker(), trio.Event(), trio.Event(), attach)

        async def run(task_status) -> None:
            with listening(api, socket.SOCK_STREAM) as one, listening(attach, socket.SOCK_SEQPACKET) as two:
                parameters = {"broker": running.broker, "fs_link": control.fs, "stop": running.stop}
                await serve(parts, api_listener=one, attach_listener=two, task_status=task_status, **parameters)
            running.ended.set()

        await nursery.start(run)
        return running

    yield start
    nursery.cancel_scope.cancel()
