"""Who waits for changes below which prefix. Rule: a commit wakes those whose keys it changes, and no others: each that
is woken reads the store.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from secretfs.store.base import Op


class Watch:
    """One that waits. ``rev``: up to there nothing below its prefix has changed that it was not told."""

    def __init__(self, prefix: str, rev: int) -> None:
        self._prefix = prefix
        self._changed = trio.Event()
        self.rev = rev

    def look(self) -> None:
        """From here on ``changed`` waits for what is committed: to be called before the store is read."""
        self._changed = trio.Event()

    async def changed(self) -> None:
        """Wait for a commit that concerns it."""
        await self._changed.wait()

    def committed(self, ops: Sequence[Op], rev: int) -> None:
        """A commit was done, and this is its revision."""
        if any(op.key.startswith(self._prefix) for op in ops):
            self._changed.set()
        elif self.rev == rev - 1 and not self._changed.is_set():  # else others have written, or it is to read, or reads
            self.rev = rev


class Watches:
    """All of a store's."""

    def __init__(self) -> None:
        self._all: set[Watch] = set()

    @contextmanager
    def watch(self, prefix: str, rev: int) -> Iterator[Watch]:
        """One more, while the block runs."""
        made = Watch(prefix, rev)
        self._all.add(made)
        try:
            yield made
        finally:
            self._all.discard(made)

    def committed(self, ops: Sequence[Op], rev: int) -> None:
        """Tell them of a commit."""
        for each in self._all:
            each.committed(ops, rev)
