"""What the kernel remembers of a FUSE file system, as far as secretfs relies on it: a second implementation, no mock.

Names and attributes are kept until it is told to forget them (the timeouts of secretfs are for ever), missing names
too; file pages only where a client maps a file (reads are direct_io). It outlives every fs.
"""

import copy
import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pyfuse3
import pytest
import trio
from pyfuse3 import FUSEError

from secretfs.fs.operations import Operations

ROOT = pyfuse3.ROOT_INODE
CALLER = SimpleNamespace(pid=4711, uid=1000, gid=100)


def answer(request):
    """The answer of a handler: it may not wait."""
    try:
        request.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a handler waited")


@dataclass
class Handle:
    """An open file of a client."""

    ino: int
    number: int


@dataclass
class Kernel:
    """Caches, the requests that fill them, and the notifications that empty them."""

    names: dict[tuple[int, bytes], int] = field(default_factory=dict)  # 0: a negative entry
    attributes: dict[int, pyfuse3.EntryAttributes] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)  # inodes that were looked up
    pages: dict[int, bytes] = field(default_factory=dict)
    told: list[tuple[str, int, object]] = field(default_factory=list)  # notifications, as they came
    operations: Operations | None = None
    before_notification: Callable[[str, int, object], None] = lambda *_: None
    fails: dict[str, int] = field(default_factory=dict)  # notification → errno

    def copy(self) -> "Kernel":
        return Kernel(dict(self.names), dict(self.attributes), set(self.known), dict(self.pages))

    # -- what clients do ------------------------------------------------------------------------------------------

    def lookup(self, parent: int, name: bytes) -> int:
        """The inode number behind a name, or ENOENT."""
        ino = self.names.get((parent, name))
        if ino is None:
            entry = answer(self.operations.lookup(parent, name, None))
            ino = self.names[parent, name] = entry.st_ino
            if ino:
                self.known.add(ino)
                self.attributes[ino] = entry
        if not ino:
            raise FUSEError(errno.ENOENT)
        return ino

    def walk(self, *path: str) -> int:
        ino = ROOT
        for name in "/".join(path).split("/"):
            ino = self.lookup(ino, name.encode())
        return ino

    def stat(self, ino: int) -> pyfuse3.EntryAttributes:
        if ino not in self.attributes:
            self.attributes[ino] = answer(self.operations.getattr(ino, None))
        return self.attributes[ino]

    def open(self, ino: int) -> Handle:
        if stat.S_ISDIR(self.stat(ino).st_mode):
            raise FUSEError(errno.EISDIR)
        return Handle(ino, answer(self.operations.open(ino, 0, CALLER)).fh)

    def read(self, handle: Handle) -> bytes:
        return bytes(answer(self.operations.read(handle.number, 0, 1 << 20)))

    def map(self, handle: Handle) -> bytes:
        """A fault of a private mapping: the page cache belongs to the inode, not to the handle."""
        if handle.ino not in self.pages:
            self.pages[handle.ino] = self.read(handle)
        return self.pages[handle.ino]

    def close(self, handle: Handle) -> None:
        answer(self.operations.release(handle.number))

    def list(self, ino: int) -> list[str]:
        return [name for name, _ in entries(self.operations, answer(self.operations.opendir(ino, None)))]

    def shrink(self) -> None:
        """Memory is short: everything that can be asked again is dropped."""
        for cache in (self.names, self.attributes, self.known, self.pages):
            cache.clear()

    # -- what fs tells it -----------------------------------------------------------------------------------------

    def notify_store(self, ino: int, offset: int, data) -> None:
        self._comes("store", ino, (offset, bytes(data)))
        if ino not in self.known:
            raise OSError(errno.ENOENT, "not cached")
        page = self.pages.get(ino)
        if page is not None:
            assert offset + len(data) <= len(page), "zeros beyond the size grow the file"
            self.pages[ino] = page[:offset] + bytes(data) + page[offset + len(data) :]

    def invalidate_inode(self, ino: int, attr_only: bool = False) -> None:
        self._comes("inode", ino, attr_only)
        if ino not in self.known:
            raise OSError(errno.ENOENT, "not cached")
        self.attributes.pop(ino, None)
        if not attr_only and ino in self.pages:
            assert not any(self.pages.pop(ino)), "pages are zeroed before they are dropped"

    def invalidate_entry(self, parent: int, name: bytes, deleted: int = 0) -> None:
        self._comes("entry", parent, bytes(name))
        assert deleted == 0
        ino = self.names.get((parent, bytes(name)))
        if ino is None:
            raise OSError(errno.ENOENT, "not cached")
        del self.names[parent, bytes(name)]
        gone = {ino} if ino else set()
        while gone:  # d_invalidate drops what lies below
            below = {key for key in self.names if key[0] in gone}
            gone = {self.names.pop(key) for key in below} - {0}

    def _comes(self, act: str, ino: int, what: object) -> None:
        trio.from_thread.check_cancelled()  # an error in the event loop: there it could deadlock
        trio.from_thread.run_sync(self.before_notification, act, ino, what)
        self.told.append((act, ino, what))
        if act in self.fails:
            raise OSError(self.fails[act], "refused")


def entries(operations: Operations, handle: int, *, start: int = 0, room: int = 1000) -> list[tuple[str, int]]:
    """One readdir with room for so many entries: names and offsets."""
    found: list[tuple[str, int]] = []

    def reply(_token, name, _attributes, next_id):
        if len(found) == room:
            return False
        found.append((bytes(name).decode("utf-8", "surrogateescape"), next_id))
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyfuse3, "readdir_reply", reply)
        answer(operations.readdir(handle, start, None))
    return found


def attach(kernel: Kernel, patch: pytest.MonkeyPatch) -> None:
    """Let pyfuse3's notifications come to this kernel."""
    for name in ("notify_store", "invalidate_inode", "invalidate_entry"):
        patch.setattr(pyfuse3, name, getattr(kernel, name))
    assert copy.copy(kernel) is not kernel
