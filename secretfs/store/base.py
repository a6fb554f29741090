"""The contract of a store: four operations on ordered keys. Rule: one sees a whole commit or nothing of it.

**Keys** are text and sort by their UTF-8 bytes; **values** are bytes. **Revisions**: every commit that
changes something has the next number; a record carries the number of the commit that wrote it last. Numbers
only rise, also after a restart, and 0 stands for "is not there".

**get** gives the newest committed record. A record whose bytes are not what was written is an error that
names it.

**list** gives the records below a prefix, after a key, in order, as of one revision; damaged ones are left
out and named. Several pages are several revisions: watch from the first page's.

**commit** is one transaction. When every guard holds (the record has that revision; 0: it is not there) all
operations are done, and when it returns they are on the disk. When one does not hold nothing is done and the
first such guard is the answer. A commit is never abandoned by cancellation: it was done and is answered, or
it was not begun. A key has one operation at most; deleting what is not there is allowed, and changes nothing.
What is deleted or put with
``erase`` is in no file of the store afterwards, unless something stood in the way: then soon after.
With a full disk nothing is done, and reads go on; but a commit that takes away (removes something, or changes
what is there and adds one record at most) is done even then.

**watch** waits until something below the prefix has changed after a revision, and gives every such key once,
in order, with what it holds now; ``rev`` is where the next watch continues. There is no gap: watching from
the ``rev`` of a list misses nothing. When the store has forgotten what happened since that revision the
answer is ``Compacted``: list again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

MAX_OPS: Final = 20_000  # per commit; etcd needs --max-txn-ops for more than 128


@dataclass(frozen=True, slots=True)
class Item:
    """A record."""

    key: str
    value: bytes = field(repr=False)
    rev: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of records, the keys of damaged ones that would be among them, and the revision of this page."""

    items: tuple[Item, ...]
    damaged: tuple[str, ...]
    rev: int


@dataclass(frozen=True, slots=True)
class Guard:
    """The record must have this revision; 0: it must not be there."""

    key: str
    rev: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write the record, whether it is there or not. ``erase``: what it held before goes off the disk at once."""

    key: str
    value: bytes = field(repr=False)
    erase: bool = False


@dataclass(frozen=True, slots=True)
class Del:
    """Remove the record, if it is there. Without ``erase`` it may be on the disk for some more commits."""

    key: str
    erase: bool = True


Op = Put | Del


@dataclass(frozen=True, slots=True)
class Conflict:
    """A guard did not hold: the record has this revision instead. Nothing was done."""

    key: str
    rev: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed: each key with its record, or None when it is gone; damaged keys; where to continue."""

    rev: int
    changes: tuple[tuple[str, Item | None], ...]
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compacted:
    """What happened since the revision asked for is no longer known (or never was): list again."""

    rev: int  # the oldest from which a watch can start


class Store(Protocol):
    """What both engines do. Every operation may raise StoreError."""

    async def get(self, key: str) -> Item | None:
        """The record, or None. Raises: CorruptRecordError."""

    async def list(self, prefix: str, after: str = "", limit: int = 1000) -> Listing:
        """Up to ``limit`` records whose keys begin with the prefix and come after ``after``."""

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | Conflict:
        """Do all operations if all guards hold; the revision of the commit. Raises: StoreFullError.

        A guard on a damaged record raises CorruptRecordError; deleting one without a guard is how it is
        removed.
        """

    async def watch(self, prefix: str, from_rev: int) -> Changes | Compacted:
        """Wait for changes after ``from_rev``; at once when there are some."""
