"""The writing side of the SQLite store; all of it blocks. Rule: a commit that makes the store larger is done
only when what is then there could be removed again on a full disk.

So the reserve is there before the commit, and the write-ahead log is emptied after every one that is large or erases,
and is not let grow by others: a log that has grown over the disk would leave none for a revocation. Whatever happens
after a commit is done does not undo its answer.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from secretfs.errors import StoreError, StoreFullError
from secretfs.store import rows
from secretfs.store.base import Conflict, Guard, Op
from secretfs.store.reserve import Reserve

_LARGE_BYTES: Final = 16 << 10  # of puts: their log is not left to wait
_FIRST_BYTES: Final = 128 << 10  # of the reserve that are given up before more is
_INDEX_BYTES: Final = 32 << 10  # pages of the tree around a record


class Writer:
    """The one connection that writes, and the reserve."""

    def __init__(self, path: Path, shown: Path, db: sqlite3.Connection, reserve: Reserve) -> None:
        self._path, self._shown = path, shown
        self._log = f"{path}-wal"
        self._db = db
        self._reserve = reserve
        self._page_bytes = rows.page_bytes(db)

    def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | Conflict:
        """The revision, or the first guard that does not hold. Raises: StoreFullError, StoreError."""
        try:
            answer = self._committed(guards, ops)
        except StoreFullError:
            self.settle()
            raise
        if _is_large(ops):
            self.settle()
        elif self._log_is_long():
            with suppress(sqlite3.Error):
                rows.reuse_log(self._db)
        return answer

    def settle(self) -> None:
        """Empty the write-ahead log, with the help of the reserve if need be, and make the reserve anew."""
        with suppress(sqlite3.Error, OSError):  # done and safe is what was committed; the next commit asks again
            if not rows.empty_log(self._db) and self._reserve.give_up():
                rows.empty_log(self._db)
            size, _ = rows.room(self._db)
            self._reserve.fit(size)

    def close(self) -> None:
        """The last connection that is closed moves the write-ahead log into the file."""
        self._db.close()

    def _committed(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | Conflict:
        for _ in range(2):  # again when the log of small commits has been emptied
            if self._has_reserve(ops):
                with suppress(StoreFullError):
                    return self._attempt(guards, ops)
            rows.empty_log(self._db)
        if not (rows.takes_away(self._db, ops) or self._has_place(ops)):
            raise full(self._shown)
        return self._with_reserve(guards, ops)

    def _with_reserve(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | Conflict:
        """Give up no more of it than this takes: somebody else may be quick to fill what is free."""
        size = _FIRST_BYTES
        while self._reserve.give_up(size):
            with suppress(StoreFullError):
                return self._attempt(guards, ops)
            size *= 2
        return self._attempt(guards, ops)

    def _attempt(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | Conflict:
        try:
            return rows.commit(self._db, guards, ops)
        except sqlite3.Error as exc:
            if is_full(self._path, exc):
                raise full(self._shown) from exc
            raise

    def _has_reserve(self, ops: Sequence[Op]) -> bool:
        """Whether there is a reserve for the store as these would leave it; it is made."""
        wanted = _pages_bytes(ops)
        try:
            if self._reserve.holds(rows.pages(self._db) * self._page_bytes + wanted):
                return True
            size, free = rows.room(self._db)
            return self._reserve.ensure(size + max(0, wanted - free))
        except OSError as exc:
            raise StoreError(f"the reserve of store {str(self._shown)!r} cannot be made: {exc.strerror}") from exc

    def _has_place(self, ops: Sequence[Op]) -> bool:
        """Whether they fit where others were removed, so that the reserve can be made anew after them."""
        _, free = rows.room(self._db)
        return _pages_bytes(ops) <= free and self._has_reserve(ops)

    def _log_is_long(self) -> bool:
        with suppress(OSError):
            return os.stat(self._log).st_size > rows.LOG_BYTES
        return False


def full(shown: Path) -> StoreFullError:
    """What is said when the disk is full."""
    return StoreFullError(f"the disk of store {str(shown)!r} is full: nothing was changed")


def is_full(path: Path, exc: sqlite3.Error) -> bool:
    """Whether it failed for want of room."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and not os.statvfs(path.parent).f_bavail)


def _is_large(ops: Sequence[Op]) -> bool:
    return any(op.erase for op in ops) or rows.put_bytes(ops) >= _LARGE_BYTES


def _pages_bytes(ops: Sequence[Op]) -> int:
    """What the file may grow by, generously."""
    size = rows.put_bytes(ops)
    return size + size // 64 + _INDEX_BYTES
