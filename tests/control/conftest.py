"""A control process without its neighbours: the real store, the real keys, the real API on a real socket."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from control_harness import Client, Control, control_of

from secretfs.control.api import server
from secretfs.control.api.server import Limits
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
