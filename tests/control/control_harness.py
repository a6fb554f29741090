"""Control without its neighbours, in short words: the real store and keys, and HTTP by hand."""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio
from fakes import FakeBroker, FakeFs

from secretfs.control.api.application import api
from secretfs.control.api.server import Handler
from secretfs.control.audit import Caller
from secretfs.control.chain import Chain
from secretfs.control.keys import Keys
from secretfs.control.shown import Shown
from secretfs.control.trees import Trees
from secretfs.control.usecases.commits import Commits
from secretfs.control.usecases.grants import Reference
from secretfs.control.usecases.keys import Rotation
from secretfs.control.usecases.secrets import Draft, Secrets
from secretfs.control.usecases.services import ServiceDraft, Services
from secretfs.control.usecases.swarm import Swarm
from secretfs.control.usecases.tasks import Attached, AttachRequest, Tasks
from secretfs.control.usecases.versions import Versions
from secretfs.control.values import Values
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind, ObjectId
from secretfs.core.task import Leader
from secretfs.crypto.keyring import Keyring
from secretfs.crypto.lock import OpenKeyring
from secretfs.linux import process
from secretfs.store.base import Store

ME = Caller(uid=0, gid=0, pid=os.getpid())
CLUSTER = "a cluster of the tests"
GRANTED = 0o444
PATIENCE_SECONDS = 5  # what no answer comes near


@dataclass
class Control:
    """The parts, and short words for what most tests do."""

    store: Store
    keys: Keys
    values: Values
    trees: Trees
    fs: FakeFs
    broker: FakeBroker
    commits: Commits
    secrets: Secrets
    services: Services
    tasks: Tasks
    versions: Versions

    async def secret(self, name: str, value: bytes = b"a value", **labels: str) -> ObjectId:
        return await self.secrets.create(ME, Draft(Kind.SECRET, name, labels), bytearray(value))

    async def draft(self, name: str, *granted: str, **labels: str) -> ServiceDraft:
        references = []
        for text in granted:
            source, _, target = text.partition(":")
            secret = (await self.secrets.inspect(Kind.SECRET, source)).value
            references.append(Reference(Kind.SECRET, secret.id, secret.name, target or source, 0, 0, GRANTED))
        spec = {"Name": name, "Labels": labels, "TaskTemplate": {"ContainerSpec": {}}}
        return ServiceDraft(name, labels, tuple(references), spec)

    async def service(self, name: str, *granted: str, **labels: str) -> str:
        return await self.services.create(ME, await self.draft(name, *granted, **labels))

    async def update(self, name: str, *granted: str) -> list[str]:
        rev = (await self.services.inspect(name)).rev
        return await self.services.update(ME, name, rev, await self.draft(name, *granted))

    async def attach(self, service: str | None = None, *granted: str, until_leader: bool = False) -> Attached:
        grants = tuple(GrantRequest(Kind.SECRET, name, name) for name in granted)
        return await self.tasks.attach(ME, AttachRequest(service, grants, "/run/secrets", until_leader), leader())

    def again(self) -> "Control":
        """Control as it is after a restart: nothing but the store is left, and fs serves on."""
        return control_of(self.store, self.keys.keyring, self.fs)

    def handler(self) -> Handler:
        """The API over these parts."""

        async def unlocked() -> None:
            await self.trees.renew(self.fs)

        swarm = Swarm(self.commits, self.keys, unlocked=unlocked)
        return api(self.commits, self.values, self.tasks, swarm, Rotation(self.commits, self.keys, self.values))


def leader(pid: int | None = None) -> Leader:
    number = pid or os.getpid()
    return Leader(process.boot_id(), number, process.start_ticks(number))


def control_of(
    store: Store,
    keyring: Keyring | Keys,
    fs: FakeFs | None = None,
    *,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Control:
    keys = keyring if isinstance(keyring, Keys) else Keys(bytes(32), CLUSTER, OpenKeyring(keyring))
    values = Values(store, keys)
    fs = fs or FakeFs(values.sealed)
    commits, trees = Commits(store, Chain(keys.audit_key), clock_ns=clock_ns), Trees(store, Shown(clock_ns))
    broker = FakeBroker()
    tasks = Tasks(commits, trees, fs, broker, check_unlocked=keys.check)
    return Control(
        store,
        keys,
        values,
        trees,
        fs,
        broker,
        commits,
        Secrets(commits, values),
        Services(commits, tasks),
        tasks,
        Versions(commits, values, tasks),
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        return msgspec.json.decode(self.body)["message"]


class Client:
    """HTTP by hand, one connection per request, so that nothing is repaired on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    async def raw(self, data: bytes) -> bytes:
        """Send this, then read to the end."""
        with trio.fail_after(PATIENCE_SECONDS):
            async with await trio.open_unix_socket(self.path) as stream:
                with contextlib.suppress(trio.BrokenResourceError):  # refused before all of it was sent
                    await stream.send_all(data)
                return b"".join([chunk async for chunk in stream])

    async def __call__(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Answer:
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
        if data and content_type:
            head += f"Content-Type: {content_type}\r\n"
        return parsed(await self.raw(head.encode() + b"\r\n" + data))


@dataclass
class Running:
    """All of control but the sockets to its neighbours."""

    client: Client
    fs: FakeFs
    broker: FakeBroker
    stop: trio.Event
    ended: trio.Event
    attach: Path


def listening(path: Path, kind: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(str(path))
    listener.listen()
    return listener


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while not condition():
            await trio.lowlevel.checkpoint()


def parsed(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Answer(int(first.split()[1]), headers, body)


def unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        found += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return found
