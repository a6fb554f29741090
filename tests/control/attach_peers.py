"""The attach socket with its neighbours taken away, and peers for it."""

import contextlib
import json
import os
import socket
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from secretfs.control.audit import Caller
from secretfs.control.broker import Namespaces
from secretfs.control.frontends import attach
from secretfs.control.frontends.gate import EVERYBODYS
from secretfs.control.usecases.rights import Rights
from secretfs.control.usecases.tasks import Attached, AttachRequest
from secretfs.core.names import Kind, ObjectId, ObjectName, TaskId
from secretfs.core.plan import Entry, VersionRef
from secretfs.core.task import Leader, Task
from secretfs.errors import NotFoundError, SecretfsError, UnavailableError
from secretfs.linux import namespaces, process

API_GID = 4300
TASK = TaskId("t" * 25)
REQUEST = {"Service": "web", "Secrets": [], "TargetDir": "/run/secrets", "UntilLeader": False}
MOUNTED = b'{"Mounted": true}'
ELSEWHERE = 4711  # a mount namespace that is nobody's


class FakeTasks:
    """Tasks as the use cases keep them: begun, running, gone; with what a test wants to go wrong."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []
        self.files = [(Kind.SECRET, "db")]
        self.refusals: dict[str, SecretfsError] = {}
        self.detach_seconds = 0.0
        self.rights: Rights | None = None
        self.kept: list[tuple[object, ...]] = []  # refusals in the audit

    async def attach(
        self, caller: Caller, request: AttachRequest, leader: Leader, rights: Rights | None = None
    ) -> Attached:
        self.rights = rights
        self._record("attach", caller, request, leader)
        task = Task(TASK, None, "", (), leader, request.target_dir, caller.uid, 0, request.until_leader)
        tree = {key: Entry(*key, 0, 0, 0o444, VersionRef(ObjectId("o" * 25), 1), 7) for key in self.files}
        return Attached(task, tree, {key: ObjectName(f"{key[0].value}.{key[1]}") for key in self.files})

    async def refused(self, caller: Caller, service: str, reason: str, *, more: int = 0) -> None:
        self.kept.append((caller.uid, service, reason, more))

    async def running(self, task_id: TaskId, mnt_ns: int) -> None:
        self._record("running", task_id, mnt_ns)

    async def detach(self, task_id: TaskId, reason: str) -> None:
        await trio.sleep(self.detach_seconds)
        self._record("detach", task_id, reason)

    def acts(self) -> list[object]:
        return [entry[0] for entry in self.log]

    def _record(self, act: str, *details: object) -> None:
        self.log.append((act, *details))
        if act in self.refusals:
            raise self.refusals[act]


@dataclass
class FakeBroker:
    """Processes as they are, trees as directories. ``seen`` is a peer's mount namespace from the second look on."""

    tree: Path
    own: Namespaces = field(default_factory=lambda: namespaces_of("self"))
    seen: int | None = ELSEWHERE
    looks: int = 0
    refused_kind: Kind | None = None

    async def tree_fd(self, task: TaskId, kind: Kind) -> int:
        assert task == TASK
        if kind is self.refused_kind:
            raise UnavailableError("no tree today")
        return os.open(self.tree / f"{kind.value}s", os.O_PATH)

    async def namespaces(self, pidfd: int) -> Namespaces:
        self.looks += 1
        try:
            theirs = namespaces_of(process.pid_of(pidfd))
        except OSError:
            raise NotFoundError("the process is gone") from None
        if self.looks > 1 and self.seen is not None:
            return Namespaces(theirs.user, theirs.pid, self.seen)
        return theirs


def namespaces_of(pid: int | str) -> Namespaces:
    return Namespaces(*(namespaces.ns_inode(pid, kind) for kind in ("user", "pid", "mnt")))


class Frontend:
    """The attach socket with its fakes, and peers for it."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "attach.sock")
        for kind in Kind:
            (directory / f"{kind.value}s").mkdir()
        self.tasks = FakeTasks()
        self.broker = FakeBroker(directory)
        self.door = EVERYBODYS
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self.listener.listen()

    @contextlib.asynccontextmanager
    async def serving(self):
        async with trio.open_nursery() as nursery:
            frontend = attach.Frontend(self.tasks, self.broker, api_gid=API_GID)
            await nursery.start(partial(attach.serve, self.listener, frontend, door=self.door))
            yield nursery.cancel_scope
            nursery.cancel_scope.cancel()

    @contextlib.asynccontextmanager
    async def peer(self):
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            await connection.connect(self.path)
            yield connection

    async def said_to(self, *packets: bytes) -> list[object]:
        """All that a peer gets that sends these, one after each answer; None at the end of the connection."""
        answers: list[object] = []
        async with self.serving(), self.peer() as connection:
            for packet in packets:
                await connection.send(packet)
                answers.append(await said(connection))
            if answers[-1] is not None:
                answers.append(await said(connection))
        return answers


async def said(connection) -> object:
    try:
        packet = await connection.recv(200_000)
    except ConnectionResetError:
        packet = await connection.recv(200_000)
    return json.loads(packet) if packet else None


async def given(connection) -> tuple[object, list[int]]:
    space = socket.CMSG_SPACE(2 * 4)
    packet, control, flags, _ = await connection.recvmsg(200_000, space, socket.MSG_CMSG_CLOEXEC)
    assert not flags & socket.MSG_CTRUNC
    fds = [fd for _, _, data in control for fd in memoryview(data).cast("i")]
    return json.loads(packet), fds


CLIENT = """
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
    connection.connect(os.path.basename(sys.argv[1]))
    print(connection.recv(65536).decode())
"""


async def refusal_of(frontend, uid: int, *wrapper: str) -> object:
    """What a peer of its own process is told that only listens."""
    command = [*wrapper, sys.executable, "-c", CLIENT, frontend.path, str(uid)]
    async with frontend.serving():
        return json.loads((await trio.run_process(command, capture_stdout=True)).stdout)


def encoded(**changed: object) -> bytes:
    return json.dumps(REQUEST | changed).encode()
