"""The embedded store: one SQLite file. Rule: what was acknowledged survives a kill or power cut at any
moment.

WAL with synchronous=FULL (NORMAL lost acknowledged commits in a third of the crash states that were tried);
zeros over deleted bytes; mode 0600. Each connection is used by one thread at a time; one alone writes,
so that reads wait for no fsync and go on when the disk is full. Each row carries a checksum over its key,
revision and value: it finds what a disk or a person has changed, it is no protection against a forger (values
are sealed by ``crypto``; names and labels are not).

A single record is read where it is asked for: to hand it to a thread takes five times as long as to look it up, and a
page that is not in memory yet costs one read of the disk. What has to wait, or goes wrong, is done in a thread.

Several processes may write: guards hold between them. A watch is woken by commits of its own process only.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from secretfs.errors import StoreError, StoreVersionError
from secretfs.store import rows, schema
from secretfs.store.base import MAX_OPS, Changes, Compacted, Conflict, Guard, Item, Listing, Op
from secretfs.store.reserve import Reserve
from secretfs.store.thread import Thread
from secretfs.store.turn import Turn
from secretfs.store.watches import Watches
from secretfs.store.writer import Writer, full, is_full

CLOSE_SECONDS: Final = 10
YIELD_GETS: Final = 32  # records that are read before others have a turn: a millisecond

T = TypeVar("T")


@asynccontextmanager
async def opened(path: Path, shown: Path | None = None) -> AsyncIterator["SqliteStore"]:
    """The store in that file, made if it is not there; closed at the end of the block. ``shown``: where others find
    the file, if that is elsewhere; errors name it.

    Raises: SetupError, StoreVersionError, StoreFullError, StoreError.
    """
    names = path, shown or path
    with Thread("store") as thread:
        store = SqliteStore(names, thread, *await _in_thread(names, partial(_opened, *names)))
        try:
            yield store
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await store._close()


class SqliteStore:
    """The ``Store`` in a file; made by ``opened``."""

    def __init__(
        self,
        names: tuple[Path, Path],
        thread: Thread,
        writer: Writer,
        reader: sqlite3.Connection,
        quick: sqlite3.Connection,
    ) -> None:
        self._names = names
        self._thread = thread  # commits are done in it
        self._writer, self._reader, self._quick = writer, reader, quick
        self._at_once = 0  # records that were read without a thread
        self._writing, self._reading = Turn(), Turn()
        self._watches = Watches()

    async def get(self, key: str) -> Item | None:
        """The record, or None. Raises: CorruptRecordError."""
        self._at_once += 1
        if self._at_once % YIELD_GETS:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        try:
            return rows.get(self._quick, key)
        except (sqlite3.Error, UnicodeDecodeError):
            return await self._read(partial(rows.get, self._reader, key))

    async def list(self, prefix: str, after: str = "", limit: int = 1000) -> Listing:
        """Up to ``limit`` records whose keys begin with the prefix and come after ``after``."""
        return await self._read(partial(rows.listing, self._reader, prefix, after, limit))

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | Conflict:
        """Do all operations if all guards hold; the revision of the commit. Raises: StoreFullError."""
        _check(ops)
        async with self._writing:
            answer = await _answered(self._names, self._thread.run, partial(self._writer.commit, guards, ops))
            # No await from here: what is done must be answered, also when this task was cancelled meanwhile.
            if isinstance(answer, int):
                self._watches.committed(ops, answer)
            return answer

    async def watch(self, prefix: str, from_rev: int) -> Changes | Compacted:
        """Wait for changes after ``from_rev``; at once when there are some."""
        with self._watches.watch(prefix, from_rev) as watch:
            while True:
                watch.look()
                answer = await self._read(partial(rows.changes, self._reader, prefix, watch.rev))
                if isinstance(answer, Compacted) or answer.changes or answer.damaged:
                    return answer
                watch.rev = answer.rev
                await watch.changed()

    async def _read(self, function: Callable[[], T]) -> T:
        async with self._reading:
            return await _in_thread(self._names, function)

    async def _close(self) -> None:
        async with self._writing, self._reading:
            await _in_thread(self._names, self._close_connections)

    def _close_connections(self) -> None:
        self._quick.close()
        self._reader.close()
        self._writer.close()


def _opened(path: Path, shown: Path) -> tuple[Writer, sqlite3.Connection, sqlite3.Connection]:
    """All connections, with an empty log and a reserve. A full disk, also one that a kill left so, needs the
    reserve for the index of the log.
    """
    reserve = Reserve(path)
    try:
        found = schema.open_file(path, shown)
    except sqlite3.Error as exc:
        if not is_full(path, exc) or not reserve.give_up():
            raise
        found = schema.open_file(path, shown)
    writer = Writer(path, shown, found.writer, reserve)
    writer.settle()
    return writer, found.reader, found.quick


def _check(ops: Sequence[Op]) -> None:
    keys = {op.key for op in ops}
    if len(ops) > MAX_OPS:
        raise StoreError(f"a commit has at most {MAX_OPS} operations, not {len(ops)}")
    if len(keys) != len(ops):
        raise StoreError("a commit has one operation for a key, not several")
    if "" in keys:
        raise StoreError("a key may not be empty")


async def _in_thread(names: tuple[Path, Path], function: Callable[[], T]) -> T:
    """Run it where it may block. Cancellation does not abandon it: it is answered once it was begun."""
    return await _answered(names, trio.to_thread.run_sync, function)


async def _answered(
    names: tuple[Path, Path], run: Callable[[Callable[[], T]], Awaitable[T]], function: Callable[[], T]
) -> T:
    """What it returns, run so. ``names``: the store's path, and what errors call it."""
    try:
        return await run(function)
    except UnicodeDecodeError:  # the sqlite3 module reading a message of SQLite that quotes damaged bytes
        raise StoreError(f"store {str(names[1])!r} is damaged: its schema cannot be read") from None
    except sqlite3.Error as exc:
        raise await trio.to_thread.run_sync(_store_error, *names, exc) from exc


def _store_error(path: Path, shown: Path, exc: sqlite3.Error) -> StoreError:
    """What an error of SQLite means; its own text names no bytes of a record."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if is_full(path, exc):
        return full(shown)
    if code == sqlite3.SQLITE_NOTADB:
        return StoreVersionError(f"{str(shown)!r} is no secretfs store")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"store {str(shown)!r} is damaged: {exc}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"store {str(shown)!r} is in use by another process")
    return StoreError(f"store {str(shown)!r}: {exc}")
