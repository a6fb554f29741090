"""What the kernel is told when a tree changes: in this order, and in a thread.

A file goes like this: it is withdrawn (opens and reads fail from there) → zeros are stored over the pages that the
kernel may have cached for it, over exactly the size that the kernel knows → its pages and attributes are dropped → its
slot is wiped → its name is dropped, children before directories.

In the event loop a notification deadlocks with a fault or a lookup that waits for this very loop, in a D state that
survives kill -9. ENOENT from a notification means that the kernel had forgotten it: done.
"""

import contextlib
import errno
import itertools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import pyfuse3
import trio

from secretfs.fs import log
from secretfs.fs.manifest import Act, Notice

_ZEROS: Final = bytes(1 << 20)  # as long as the longest value
_PAGES: Final = (Act.FORGET, Act.CHANGE)
_NAMES: Final = (Act.FORGET, Act.VANISH, Act.APPEAR)
_page_threads = trio.CapacityLimiter(32)
_name_threads = trio.CapacityLimiter(256)
_directories: weakref.WeakValueDictionary[int, trio.Lock] = weakref.WeakValueDictionary()  # by inode number


async def tell(notices: Sequence[Notice], *, wipe: Callable[[], None]) -> tuple[Notice, ...]:
    """Send what is due, with ``wipe`` between pages and names. Returns the notices that are done with.

    A client can hold a directory's lock as long as it likes, and with it a thread that has a name in it to forget. So
    pages never queue behind names, and a directory never takes more than one thread.
    """
    failed: set[int] = set()
    pages = [notice for notice in notices if notice.act in (*_PAGES, Act.ATTRIBUTES)]
    if pages:
        await trio.to_thread.run_sync(_send, pages, _forget_pages, failed, limiter=_page_threads)
    wipe()
    names = [notice for notice in notices if notice.act in _NAMES]
    for parent, group in itertools.groupby(names, key=lambda notice: notice.parent):
        async with _directories.setdefault(parent, trio.Lock()):
            await trio.to_thread.run_sync(_send, list(group), _forget_name, failed, limiter=_name_threads)
    return tuple(notice for notice in notices if notice.number not in failed)


def _send(notices: Iterable[Notice], act: Callable[[Notice], None], failed: set[int]) -> None:
    for notice in notices:
        try:
            act(notice)
        except OSError as refusal:
            failed.add(notice.number)
            log.error("notification failed", act=notice.act.name, error=errno.errorcode.get(refusal.errno or 0))


def _forget_pages(notice: Notice) -> None:
    if notice.act in _PAGES:
        for offset in range(0, notice.size, len(_ZEROS)):
            with _forgotten():
                zeros = memoryview(_ZEROS)[: notice.size - offset]
                pyfuse3.notify_store(pyfuse3.InodeT(notice.ino), offset, zeros)  # type: ignore[arg-type]  # any buffer
    with _forgotten():
        pyfuse3.invalidate_inode(pyfuse3.InodeT(notice.ino), attr_only=notice.act is Act.ATTRIBUTES)


def _forget_name(notice: Notice) -> None:
    name = notice.name.encode("utf-8", "surrogateescape")
    with _forgotten():
        pyfuse3.invalidate_entry(pyfuse3.InodeT(notice.parent), pyfuse3.FileNameT(name))


def _forgotten() -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(FileNotFoundError)
