"""The four operations on an open SQLite connection; all block. Rule: a row is verified before it is used."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from secretfs.errors import CorruptRecordError
from secretfs.store.base import Changes, Compacted, Conflict, Del, Guard, Item, Listing, Op, Put

LOG_BYTES: Final = 1 << 20  # of a write-ahead log that is not moved into the file yet, or is kept to be written again
KEEP_REVISIONS: Final = 100_000  # a watch can begin this many commits ago
CHECKSUM_BYTES: Final = 16
SMALL_BYTES: Final = 64 << 10  # by which a commit that takes away may make the store larger

_REVISION = "SELECT coalesce(max(rev), 0) FROM log"
_OLDEST = "SELECT coalesce(min(rev) - 1, 0) FROM log"
_GET = "SELECT rev, checksum, value FROM record WHERE key = ?"
_LIST = "SELECT key, rev, checksum, value FROM record WHERE key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ?"
_KEYS = "SELECT key FROM record WHERE key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ?"
_CHANGED = "SELECT DISTINCT key FROM log WHERE rev > ? AND key >= ? AND key < ? ORDER BY key"
_PUT = """INSERT INTO record (key, rev, checksum, value) VALUES (?, ?, ?, ?) ON CONFLICT (key)
    DO UPDATE SET rev = excluded.rev, checksum = excluded.checksum, value = excluded.value"""
_DEL = "DELETE FROM record WHERE key = ?"
_END = b"\xff"  # sorts after all UTF-8


def checksum(key: bytes, rev: int, value: bytes) -> bytes:
    """Over all of a row: ``len(key) [4] | key | rev [8] | value``."""
    digest = blake2b(digest_size=CHECKSUM_BYTES)
    digest.update(len(key).to_bytes(4, "big") + key + rev.to_bytes(8, "big", signed=True))
    digest.update(value)
    return digest.digest()


@contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """All of the block or nothing of it."""
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite ends it itself after some errors
            db.execute("ROLLBACK")
        raise


def get(db: sqlite3.Connection, key: str) -> Item | None:
    """The verified record. Raises: CorruptRecordError."""
    return _get(db, _encoded(key))


def listing(db: sqlite3.Connection, prefix: str, after: str, limit: int) -> Listing:
    """A page of verified records, as of one revision."""
    start, end = _range(prefix)
    bounds = (start, _encoded(after), end, limit)
    with transaction(db, "BEGIN"):
        try:
            rows = db.execute(_LIST, bounds).fetchall()
            items, damaged = _sorted_out((key, _verified(key, *row)) for key, *row in rows)
        except sqlite3.DatabaseError as exc:
            if not corrupt(exc):
                raise
            # A page of the file is broken: what is on the others can still be read, one by one.
            items, damaged = _one_by_one(db, [key for (key,) in db.execute(_KEYS, bounds)])
        return Listing(tuple(item for _, item in items if item), damaged, _revision(db))


def commit(db: sqlite3.Connection, guards: Sequence[Guard], ops: Sequence[Op]) -> int | Conflict:
    """The revision after the commit, which is on the disk; or the first guard that does not hold."""
    with transaction(db):
        for guard in guards:
            item = _get(db, _encoded(guard.key))
            rev = item.rev if item else 0
            if rev != guard.rev:
                return Conflict(guard.key, rev)
        rev = _revision(db) + 1
        changed = [(rev, key) for op in ops if (key := _apply(db, op, rev)) is not None]
        if not changed:
            return rev - 1
        db.executemany("INSERT INTO log (rev, key) VALUES (?, ?)", changed)
        db.execute("DELETE FROM log WHERE rev <= ?", (rev - KEEP_REVISIONS,))
    return rev


def reuse_log(db: sqlite3.Connection) -> None:
    """Move the write-ahead log into the file, and begin it anew over what it held: its room on the disk is there
    already, which makes the commits after it quicker. For when nothing was to be erased. A reader in the way means
    later.
    """
    db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


def empty_log(db: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file, so that it takes no room and keeps nothing that was deleted.

    False: the disk is too full. The commits themselves are done and safe. A reader in the way means later.
    """
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError:
        return False
    return True


def page_bytes(db: sqlite3.Connection) -> int:
    """Of a page of the file; that stays as it is."""
    return int(db.execute("PRAGMA page_size").fetchone()[0])


def pages(db: sqlite3.Connection) -> int:
    """Of the file as of the newest commit."""
    return int(db.execute("PRAGMA page_count").fetchone()[0])


def room(db: sqlite3.Connection) -> tuple[int, int]:
    """The bytes of the file as of the newest commit, and how many of them are free."""
    sizes = [int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count", "freelist_count")]
    page, pages, free = sizes
    return page * pages, page * free


def takes_away(db: sqlite3.Connection, ops: Sequence[Op]) -> bool:
    """Whether a commit leaves the store not much larger and removes something, or changes what is there and
    adds one record at most, the one that says so: how a revocation looks from here.
    """
    before = {op.key: _length(db, op.key) for op in ops}
    growth = put_bytes(ops) - sum(length or 0 for length in before.values())
    removes = any(isinstance(op, Del) and before[op.key] is not None for op in ops)
    added = sum(length is None for length in before.values())
    return growth <= SMALL_BYTES and (removes or (added <= 1 and added < len(ops)))


def put_bytes(ops: Sequence[Op]) -> int:
    """How much a commit writes."""
    return sum(len(op.value) for op in ops if isinstance(op, Put))


def _length(db: sqlite3.Connection, key: str) -> int | None:
    row = db.execute("SELECT length(value) FROM record WHERE key = ?", (_encoded(key),)).fetchone()
    return int(row[0] or 0) if row else None


def changes(db: sqlite3.Connection, prefix: str, from_rev: int) -> Changes | Compacted:
    """What the keys below the prefix hold that changed after the revision."""
    start, end = _range(prefix)
    with transaction(db, "BEGIN"):
        rev, (oldest,) = _revision(db), db.execute(_OLDEST).fetchone()
        if not oldest <= from_rev <= rev:
            return Compacted(oldest)
        keys = [key for (key,) in db.execute(_CHANGED, (from_rev, start, end))]
        items, damaged = _one_by_one(db, keys)
    return Changes(rev, items, damaged)


def _apply(db: sqlite3.Connection, op: Op, rev: int) -> bytes | None:
    """Do it; the key, if that changed anything."""
    key = _encoded(op.key)
    match op:
        case Put(value=value):
            db.execute(_PUT, (key, rev, checksum(key, rev, value), value))
            return key
        case Del():
            return key if db.execute(_DEL, (key,)).rowcount else None


def _get(db: sqlite3.Connection, key: bytes) -> Item | None:
    try:
        row = db.execute(_GET, (key,)).fetchone()
    except sqlite3.DatabaseError as exc:
        if not corrupt(exc):
            raise
        raise _damaged(key) from None
    if row is None:
        return None
    item = _verified(key, *row)
    if item is None:
        raise _damaged(key)
    return item


def _verified(key: bytes, rev: object, found: object, value: object) -> Item | None:
    """The row, if it is what was written; a damaged one may hold any types."""
    if isinstance(rev, int) and isinstance(value, bytes) and checksum(key, rev, value) == found:
        return Item(_decoded(key), value, rev)
    return None


def _one_by_one(
    db: sqlite3.Connection, keys: Sequence[bytes]
) -> tuple[tuple[tuple[str, Item | None], ...], tuple[str, ...]]:
    """Each key with its record, None for one that is not there; and the keys of the damaged ones."""
    items, damaged = [], []
    for key in keys:
        try:
            items.append((_decoded(key), _get(db, key)))
        except CorruptRecordError:
            damaged.append(_decoded(key))
    return tuple(items), tuple(damaged)


def _sorted_out(
    rows: Iterator[tuple[bytes, Item | None]],
) -> tuple[tuple[tuple[str, Item | None], ...], tuple[str, ...]]:
    items, damaged = [], []
    for key, item in rows:
        if item is None:
            damaged.append(_decoded(key))
        else:
            items.append((item.key, item))
    return tuple(items), tuple(damaged)


def _revision(db: sqlite3.Connection) -> int:
    (rev,) = db.execute(_REVISION).fetchone()
    return int(rev)


def _range(prefix: str) -> tuple[bytes, bytes]:
    start = _encoded(prefix)
    return start, start + _END


def _encoded(key: str) -> bytes:
    """The key's bytes; surrogates pass, so that looking for any text finds nothing rather than fails."""
    return key.encode("utf-8", "surrogatepass")


def _decoded(key: object) -> str:
    """The text of a stored key; a damaged one is shown as well as it can be."""
    if not isinstance(key, bytes):
        return repr(key)
    try:
        return key.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return key.decode("utf-8", "backslashreplace")


def corrupt(exc: sqlite3.DatabaseError) -> bool:
    """Whether SQLite found the file's structure broken; errors of the sqlite3 module itself have no code."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT


def _damaged(key: bytes) -> CorruptRecordError:
    return CorruptRecordError(f"record {_decoded(key)!r} is damaged: its bytes are not what was written")
