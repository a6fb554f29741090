"""What fs writes is what the supervisor reads, and a repetition is told from another request."""

from mmap import mmap

import pytest

from secretfs.fs import hand as fs_hand
from secretfs.link.hand import OFFSET, OPERATIONS, RECORD, Hand, hand_in
from secretfs.link.layout import PAGE, TOUCH_OFFSET


@pytest.fixture
def arena():
    with mmap(-1, PAGE) as memory:
        yield memory


def test_a_new_arena_has_nothing_in_hand(arena):
    assert hand_in(arena) == Hand(0, 0, 0, "none")


def test_what_fs_has_taken_is_told_and_a_successor_counts_on(arena):
    fs_hand.Hand(arena).takes(OPERATIONS.index("open"), 2**63 - 1, 4242)
    assert hand_in(arena) == Hand(1, 2**63 - 1, 4242, "open")
    fs_hand.Hand(arena).takes(OPERATIONS.index("read"), 2**64 - 1, 0)
    assert hand_in(arena) == Hand(2, 2**64 - 1, 0, "read")


def test_an_operation_of_a_newer_fs_is_told_by_its_number(arena):
    RECORD.pack_into(arena, OFFSET, 1, 2, 3, 99)
    assert hand_in(arena).operation == "99"


def test_the_record_lies_between_the_headers_of_the_journal_and_the_touch():
    assert OFFSET >= 2 * 32
    assert OFFSET + RECORD.size <= TOUCH_OFFSET


@pytest.mark.parametrize(
    ("later", "repeats"),
    [
        (Hand(8, 5, 6, "open"), True),
        (Hand(7, 5, 6, "open"), False),
        (Hand(9, 5, 6, "open"), False),
        (Hand(8, 4, 6, "open"), False),
        (Hand(8, 5, 7, "open"), False),
        (Hand(8, 5, 6, "read"), False),
    ],
)
def test_only_the_very_next_request_of_the_same_kind_is_a_repetition(later, repeats):
    assert later.repeats(Hand(7, 5, 6, "open")) is repeats
