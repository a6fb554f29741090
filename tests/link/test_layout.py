"""Where things lie in the arena: nothing overlaps, everything that is mapped or locked begins on a page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.core.names import Kind, ObjectId
from secretfs.core.secret import MAX_CONFIG_BYTES
from secretfs.crypto.envelope import OVERHEAD_BYTES, value_context
from secretfs.link.layout import DATA_KEY_BYTES, JOURNAL_HALF_BYTES, MAILBOX_BYTES, PAGE, ArenaLayout, pages

SIZES = st.integers(1, 1 << 24).map(lambda count: count * PAGE)


@given(SIZES)
def test_the_parts_lie_one_after_the_other(size):
    layout = ArenaLayout(size)
    counts_end = layout.counts + 4 * (size // PAGE)
    first, second = layout.journals
    assert layout.counts >= PAGE
    assert counts_end <= first
    assert first + JOURNAL_HALF_BYTES <= second
    assert second + JOURNAL_HALF_BYTES <= layout.data
    assert layout.data + size == layout.total


@given(SIZES)
def test_every_part_begins_on_a_page(size):
    layout = ArenaLayout(size)
    assert [at % PAGE for at in (layout.counts, *layout.journals, layout.data, layout.total)] == [0] * 5


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (PAGE, 1), (PAGE + 1, 2), (10 * PAGE, 10)])
def test_bytes_take_whole_pages(size, count):
    assert pages(size) == count


def test_the_largest_value_fits_into_a_mailbox():
    context = value_context("c" * 64, Kind.CONFIG, ObjectId("a" * 25), 2**32 - 1)
    assert DATA_KEY_BYTES + len(context) + MAX_CONFIG_BYTES + OVERHEAD_BYTES <= MAILBOX_BYTES
