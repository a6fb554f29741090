"""The fs process and the broker as control sees them, kept in dicts: second implementations of control/ports.py."""

import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from secretfs.control.ports import Sealed
from secretfs.core.names import Kind, TaskId
from secretfs.core.plan import Tree, VersionRef
from secretfs.crypto.envelope import OVERHEAD_BYTES, unseal_into, wipe
from secretfs.errors import ArenaFullError, NotFoundError, SecretfsError
from secretfs.linux.process import pid_of


class FakeFs:
    """Keeps trees and, as the arena does, the plaintext of every version that a tree shows."""

    def __init__(self, sealed: Callable[[VersionRef], Awaitable[Sealed]], *, arena_bytes: int = 1 << 30) -> None:
        self._sealed = sealed
        self._arena_bytes = arena_bytes
        self.trees: dict[TaskId, Tree] = {}
        self.values: dict[VersionRef, bytes] = {}
        self.failure: SecretfsError | None = None  # what every call raises
        self.stalled: trio.Event | None = None  # what every call waits for first

    async def put_tree(self, task: TaskId, tree: Tree) -> None:
        await self._ready()
        for entry in tree.values():
            if entry.content not in self.values:
                self.values[entry.content] = await self._unsealed(entry.content)
        self.trees[task] = dict(tree)
        self._collect()

    async def drop_tree(self, task: TaskId) -> None:
        await self._ready()
        self.trees.pop(task, None)
        self._collect()

    def read(self, task: TaskId, target: str, kind: Kind = Kind.SECRET) -> bytes:
        """What a process of the task reads. KeyError: there is no such file."""
        return self.values[self.trees[task][kind, target].content]

    async def _ready(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.stalled is not None:
            await self.stalled.wait()
        if self.failure is not None:
            raise self.failure

    async def _unsealed(self, content: VersionRef) -> bytes:
        sealed = await self._sealed(content)
        buffer = bytearray(len(sealed.ciphertext) - OVERHEAD_BYTES)
        try:
            if sum(map(len, self.values.values())) + len(buffer) > self._arena_bytes:
                raise ArenaFullError("the arena is full")
            unseal_into(sealed.data_key, sealed.ciphertext, sealed.context, buffer)
            return bytes(buffer)
        finally:
            wipe(buffer)
            wipe(sealed.data_key)

    def _collect(self) -> None:
        shown = {entry.content for tree in self.trees.values() for entry in tree.values()}
        self.values = {content: value for content, value in self.values.items() if content in shown}


@dataclass(frozen=True, slots=True)
class FakeNamespaces:
    user: int
    pid: int
    mnt: int


@dataclass
class FakeBroker:
    """Looks at real processes, as root may: no fake process is needed to test how a task ends."""

    own: FakeNamespaces = field(default_factory=lambda: _namespaces("self"))
    scans: int = 0
    dropped: list[TaskId] = field(default_factory=list)
    failure: SecretfsError | None = None
    touched: list[str] = field(default_factory=list)  # targets; "" is a directory
    signals: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    running: trio.Event | None = None  # how long a command takes

    async def touch(self, _: TaskId, __: Kind, target: str) -> None:
        await trio.lowlevel.checkpoint()
        self.touched.append(target)

    async def signal(self, _: TaskId, __: int, ___: int, number: int) -> None:
        await trio.lowlevel.checkpoint()
        self.signals.append(number)

    async def command(self, _: TaskId, __: int, ___: int, words: tuple[str, str, str]) -> int:
        self.commands.append(words[2])
        if self.running is not None:
            await self.running.wait()
        return 0

    async def members(self, task: TaskId, mnt_ns: int) -> list[int]:
        await trio.lowlevel.checkpoint()
        self.scans += 1
        return _members(task, mnt_ns)

    async def drop_mounts(self, task: TaskId) -> int:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.dropped.append(task)
        return 0

    async def namespaces(self, pidfd: int) -> FakeNamespaces:
        await trio.lowlevel.checkpoint()
        try:
            return _namespaces(str(pid_of(pidfd)))
        except (ProcessLookupError, FileNotFoundError):
            raise NotFoundError("the process is gone") from None

    async def tree_fd(self, _: TaskId, __: Kind) -> int:
        await trio.lowlevel.checkpoint()
        return os.open("/", os.O_PATH | os.O_CLOEXEC)


def _members(task: TaskId, mnt_ns: int) -> list[int]:
    pidfds = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            mounts = [line.split(" ") for line in (path / "mountinfo").read_text().splitlines()]
            has_tree = any(f"/{task}/" in f"{fields[3]}/" for fields in mounts)
            cannot_tell = not any(fields[4] == "/" for fields in mounts)
            if has_tree or (cannot_tell and (path / "ns/mnt").stat().st_ino == mnt_ns):
                pidfds.append(os.pidfd_open(int(path.name)))
    return pidfds


def _namespaces(pid: str) -> FakeNamespaces:
    return FakeNamespaces(*(Path(f"/proc/{pid}/ns/{kind}").stat().st_ino for kind in ("user", "pid", "mnt")))
