"""The handlers of FUSE requests. None of them waits, changes a tree, or lets anything but FUSEError out.

The file system is read-only, and says so itself: a container with CAP_SYS_ADMIN can remount its bind read-write.
``ctx`` decides nothing: the kernel checks owner and mode (``default_permissions``), and a tree holds only what its task
was granted. The audit of an open says who it was.
"""

import errno
import functools
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FileNameT, FlagT, FUSEError, InodeT, ReaddirToken

from secretfs.fs import log
from secretfs.fs.arena import Arena
from secretfs.fs.inodes import SLOT_MASK, Inode, Inodes, negative_entry, of_a_file
from secretfs.fs.manifest import Manifest, Slot
from secretfs.fs.opens import Opens
from secretfs.link.hand import OPERATIONS

EXIT_NO_MEMORY: Final = 12
NAME_MAX: Final = 255  # bytes (linux/limits.h)
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CREAT

_OPEN, _READ, _RELEASE = (OPERATIONS.index(name) for name in ("open", "read", "release"))

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Operations")


def _handler(act: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """A handler that answers at once. It says what it has in hand first. A bug becomes EIO and a line in the log: to
    pyfuse3, any exception but FUSEError is the end of the mount, for every task.
    """
    operation = OPERATIONS.index(act.__name__)
    of_an_inode = act.__name__ != "statfs"

    @functools.wraps(act)
    async def reply(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self.takes(operation, args[0] if of_an_inode else 0, getattr(args[-1], "pid", 0))
        try:
            return act(self, *args, **kwargs)
        except FUSEError:
            raise
        except Exception as bug:  # noqa: BLE001 - see above; no handler awaits, so this can eat no cancellation
            raise _failure(act.__name__, bug) from None

    return reply


def _failure(operation: str, bug: Exception) -> FUSEError:
    if isinstance(bug, MemoryError):
        os._exit(EXIT_NO_MEMORY)  # the kernel asks the next fs, which has some
    log.error("handler failed", operation=operation, error=type(bug).__name__)
    return FUSEError(errno.EIO)


def _refusal(operation: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def refuse(_self: "Operations", *_args: object) -> NoReturn:
        raise FUSEError(errno.EROFS)

    refuse.__name__ = operation
    refuse.__doc__ = "Refuse with EROFS."
    return refuse


class Operations(pyfuse3.Operations):
    """What the kernel gets. ``open``, ``read`` and ``release`` are what a program waits for, again and again: they have
    the guard of ``_handler`` in themselves, as another two calls for each would be a tenth of their time.
    """

    supports_dot_lookup = False  # no file handle is turned into a name that the kernel has forgotten
    enable_writeback_cache = False

    def serve(
        self,
        manifest: Manifest,
        inodes: Inodes,
        arena: Arena,
        opens: Opens,
        *,
        takes: Callable[[int, Any, int], None],
        released: Callable[[Slot], None],
    ) -> None:
        """Answer from these. libfuse has the handlers before that, but no request (fs/session.py).

        ``takes`` is told of each request, as Hand.takes; ``released`` of each slot that a file handle less is open on.
        """
        self.takes = takes
        self._slots = manifest.slots
        self._drains = manifest.drains
        self._inodes = inodes.by_number
        self._readable = inodes.readable
        self._is_touch = arena.is_touch
        self._opened = arena.opened
        self._closed = arena.closed
        self._record = opens.record
        self._released = released
        self._negative = negative_entry()
        self._statvfs = _statvfs()

    @_handler
    def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: pyfuse3.RequestContext) -> EntryAttributes:  # noqa: ARG002
        """The child's attributes, or a negative entry. Names in the root are never remembered as missing."""
        directory = self._inodes.get(parent_inode)
        children = directory.children if directory else None
        if children is None:
            raise FUSEError(errno.ENOENT)
        child = children.get(name)
        if child is not None:
            return child.attributes
        if len(name) > NAME_MAX:
            raise FUSEError(errno.ENAMETOOLONG)
        if parent_inode == pyfuse3.ROOT_INODE:
            raise FUSEError(errno.ENOENT)
        return self._negative

    @_handler
    def getattr(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> EntryAttributes:  # noqa: ARG002
        """Owner, mode, size. A file that is gone can only be named by a descriptor of it: EACCES, as its reads."""
        return self._known(inode, gone=errno.EACCES if of_a_file(inode) else errno.ENOENT).attributes

    @_handler
    def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,  # noqa: ARG002
        ctx: pyfuse3.RequestContext,  # noqa: ARG002
    ) -> EntryAttributes:
        """Nothing can be set. The supervisor's touch passes and changes nothing: the kernel tells who watches, and
        that is all it is for.
        """
        if not self._is_touch(attr.st_atime_ns, attr.st_mtime_ns) or _sets_more_than_times(fields):
            raise FUSEError(errno.EROFS)
        return self._known(inode).attributes

    async def open(self, inode: InodeT, flags: FlagT, ctx: pyfuse3.RequestContext) -> FileInfo:
        """A file handle on the version that is shown now; counted, and recorded, before the kernel hears of it."""
        self.takes(_OPEN, inode, ctx.pid)
        try:
            if flags & _WRITING:
                raise FUSEError(errno.EROFS)
            found = self._inodes.get(inode)
            if found is None:
                raise FUSEError(errno.ENOENT)
            self._opened(found.first_page)
            self._record(found.subject, ctx.pid, ctx.uid, ctx.gid)
            return found.file_info
        except FUSEError:
            raise
        except Exception as bug:  # noqa: BLE001 - as in _handler
            raise _failure("open", bug) from None

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """A view into the arena, which libfuse writes from without a copy. A handle that was revoked: EACCES."""
        self.takes(_READ, fh, 0)
        try:
            view = self._readable.get(fh)
            if view is None:
                raise FUSEError(errno.EACCES)
            return view[off : off + size]  # type: ignore[return-value]  # any buffer will do (pyfuse3 handlers.pxi)
        except FUSEError:
            raise
        except Exception as bug:  # noqa: BLE001 - as in _handler
            raise _failure("read", bug) from None

    async def release(self, fh: FileHandleT) -> None:
        """One file handle less; a version that was only kept for it can go."""
        self.takes(_RELEASE, fh, 0)
        try:
            slot = self._slots.get(fh & SLOT_MASK)
            if slot is None:
                return
            self._closed(slot.first_page)
            if self._drains:
                self._released(slot)
        except Exception as bug:  # noqa: BLE001 - as in _handler
            raise _failure("release", bug) from None

    @_handler
    def opendir(self, inode: InodeT, ctx: pyfuse3.RequestContext) -> FileHandleT:  # noqa: ARG002
        """The directory's inode number is its handle."""
        self._known(inode)
        return FileHandleT(inode)

    @_handler
    def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """Children by serial, the order they came in: none is told twice or left out while others come and go."""
        directory = self._inodes.get(fh)
        if directory is None or directory.children is None or fh == pyfuse3.ROOT_INODE:
            return
        for name, child in directory.children.items():
            serial = child.node.serial
            if serial > start_id and not pyfuse3.readdir_reply(token, FileNameT(name), child.attributes, serial):
                return

    @_handler
    def releasedir(self, fh: FileHandleT) -> None:
        """Nothing is kept for an open directory."""

    @_handler
    def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:  # noqa: ARG002
        """No space, no free space."""
        return self._statvfs

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Lookup counts decide nothing here (and are lost when fs is replaced)."""

    def _known(self, inode: int, gone: int = errno.ENOENT) -> Inode:
        found = self._inodes.get(inode)
        if found is None:
            raise FUSEError(gone)
        return found

    mknod = _refusal("mknod")
    mkdir = _refusal("mkdir")
    unlink = _refusal("unlink")
    rmdir = _refusal("rmdir")
    symlink = _refusal("symlink")
    rename = _refusal("rename")
    link = _refusal("link")
    create = _refusal("create")
    write = _refusal("write")
    setxattr = _refusal("setxattr")
    removexattr = _refusal("removexattr")


def _sets_more_than_times(fields: pyfuse3.SetattrFields) -> bool:
    return any((fields.update_mode, fields.update_uid, fields.update_gid, fields.update_size))


def _statvfs() -> pyfuse3.StatvfsData:
    data = pyfuse3.StatvfsData()
    data.f_bsize = data.f_frsize = 4096
    data.f_namemax = NAME_MAX
    return data
