"""Arena memory for tests: small, copied at will, and dying at any byte."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from secretfs.fs import journal
from secretfs.link import layout


class KilledError(BaseException):
    """kill -9 of the writer: no handler of the code under test may catch it."""


class Memory(mmap.mmap):
    """An arena whose writer dies after ``budget`` more bytes; None: it lives. Each byte is written on its own."""

    budget: int | None = None

    def __setitem__(self, where, data):
        if self.budget is None:
            return super().__setitem__(where, data)
        start, stop, _ = where.indices(len(self))
        assert stop - start == len(data), "mmap refuses a slice of another size"
        part = min(len(data), self.budget)
        super().__setitem__(slice(start, start + part), bytes(data)[:part])
        self.budget -= part
        if part < len(data):
            raise KilledError
        return None


def fresh(arena: layout.ArenaLayout) -> Memory:
    return Memory(-1, arena.total)


def copied(memory: mmap.mmap) -> Memory:
    """What a successor finds."""
    copy = Memory(-1, len(memory))
    copy[:] = memory[:]
    return copy


@contextmanager
def journal_halves(size: int, reserved: int) -> Iterator[None]:
    """Halves of another size: a full journal in a few batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "JOURNAL_HALF_BYTES", size)
        patch.setattr(journal, "JOURNAL_HALF_BYTES", size)
        patch.setattr(journal, "RESERVED_BYTES", reserved)
        yield
