"""The file of the SQLite store. Rule: a file that is not ours, or not private, is refused and left as it is.

``record`` holds the records; ``log`` which keys each revision changed, so that a watch can begin in the past.
The newest revision of the store is the newest of the log. ``application_id`` says that a file is a store of
secretfs, ``user_version`` which schema it has.
"""

import os
import sqlite3
import stat
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple

from secretfs.errors import SetupError, StoreError, StoreVersionError
from secretfs.store.rows import LOG_BYTES, checksum, corrupt, transaction

APPLICATION_ID: Final = 0x5346_5331  # "SFS1"
SCHEMA: Final = 1
BUSY_SECONDS: Final = 5  # another process of a control that is being replaced is done within this

_PRAGMAS: Final = (
    "synchronous = FULL",
    "secure_delete = ON",
    "cell_size_check = ON",
    "trusted_schema = OFF",
    "temp_store = MEMORY",
    f"journal_size_limit = {LOG_BYTES}",  # what is left of a log that was not emptied
)
_TABLES: Final = (
    """CREATE TABLE record (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, rev INTEGER NOT NULL,
        checksum BLOB NOT NULL, value BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE log (
        rev INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (rev, key)
    ) STRICT, WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA}",
)
_NOT_IN_INDEX: Final = """
    SELECT key, rev, checksum, value FROM record AS stored NOT INDEXED WHERE NOT EXISTS (
        SELECT 1 FROM record AS found INDEXED BY sqlite_autoindex_record_1
        WHERE found.key = stored.key AND found.id = stored.id)
"""


class Connections(NamedTuple):
    """One that writes, one that reads, and one that reads what is there at once: it never waits for another process."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    quick: sqlite3.Connection


def open_file(path: Path, shown: Path) -> Connections:
    """The file's connections; it is made if it is not there. ``shown``: what errors call it.

    Raises: SetupError, StoreVersionError, sqlite3.Error.
    """
    _private_file(path, shown)
    with ExitStack() as undo:
        writer = undo.enter_context(closing(_connected(path)))
        _set_up(writer)
        _prepare(writer, shown)
        _repair_index(writer)
        readers = [undo.enter_context(closing(_connected(path, seconds))) for seconds in (BUSY_SECONDS, 0)]
        for reader in readers:
            _set_up(reader)
            reader.execute("PRAGMA query_only = ON")
        undo.pop_all()
    return Connections(writer, *readers)


def _private_file(path: Path, shown: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        pass
    except OSError as exc:
        raise SetupError(f"store {str(shown)!r} cannot be made: {exc.strerror}") from None
    status = path.lstat()  # never opened for this: closing it would drop the locks of SQLite (fcntl(2))
    if not stat.S_ISREG(status.st_mode):
        raise SetupError(f"store {str(shown)!r} is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise SetupError(f"store {str(shown)!r} belongs to uid {status.st_uid}, not to {os.geteuid()}")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise SetupError(f"store {str(shown)!r} is open to others (mode {mode:04o}): chmod 0600 {shown}")


def _connected(path: Path, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    db = sqlite3.connect(
        path.absolute().as_uri() + "?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,  # each is used by one thread at a time, not always the same
    )
    db.text_factory = bytes  # a damaged row may claim to be text of any bytes
    return db


def _set_up(db: sqlite3.Connection) -> None:
    for pragma in _PRAGMAS:
        db.execute(f"PRAGMA {pragma}")


def _prepare(db: sqlite3.Connection, shown: Path) -> None:
    """Refuse a file that is no store, or a newer one's, before anything is changed; set up an empty one."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    fresh = not tables and not application and not version
    if not fresh and application != APPLICATION_ID:
        raise StoreVersionError(f"{str(shown)!r} is no secretfs store")
    if version > SCHEMA:
        raise StoreVersionError(
            f"store {str(shown)!r} was written by a newer secretfs (schema {version}, this one knows {SCHEMA})"
        )
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != b"wal":
        raise StoreError(f"store {str(shown)!r} is on a file system that cannot hold a write-ahead log")
    if fresh:
        _create_tables(db)


def _create_tables(db: sqlite3.Connection) -> None:
    with transaction(db):
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:  # another process may have been quicker
            for statement in _TABLES:
                db.execute(statement)


def _repair_index(db: sqlite3.Connection) -> None:
    """Make the index of keys anew when a good record cannot be found through it: its bytes were changed."""
    try:
        lost = any(
            checksum(key, rev, value) == found
            for key, rev, found, value in db.execute(_NOT_IN_INDEX)
            if isinstance(key, bytes) and isinstance(rev, int) and isinstance(value, bytes)
        )
    except sqlite3.DatabaseError as exc:
        if not corrupt(exc):
            raise
        lost = True
    if lost:
        db.execute("REINDEX record")
