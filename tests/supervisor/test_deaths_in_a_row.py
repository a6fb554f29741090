"""Which deaths of fs another fs is no help against."""

import pytest

from secretfs.link.hand import Hand
from secretfs.supervisor.deaths import IN_A_ROW, Deaths

BEFORE = Hand(1000, 3, 4, "read")


def poison(number: int) -> Hand:
    return Hand(number, 5, 6, "open")


def deaths(*hands: Hand, crashed: bool = False) -> list[bool]:
    made = Deaths(0.0, BEFORE)
    return [made.another(hand, crashed=crashed) for hand in hands]


@pytest.mark.parametrize("taken_before", [1, 2, 5000])
def test_one_too_many_over_the_same_request_in_a_row(taken_before):
    first = BEFORE.number + taken_before
    found = deaths(*(poison(first + index) for index in range(IN_A_ROW)))
    assert found == [False] * (IN_A_ROW - 1) + [True]


def test_whoever_answers_others_in_between_is_no_such_case():
    assert not any(deaths(*(poison(BEFORE.number + 2 * index) for index in range(1, 20))))


def test_requests_that_differ_are_no_such_case():
    assert not any(deaths(*(Hand(BEFORE.number + index, index, 6, "open") for index in range(1, 20))))


def test_kills_while_nobody_asks_for_anything_are_no_such_case():
    assert not any(deaths(*[BEFORE] * 20))


def test_crashes_before_anything_was_asked_are():
    assert deaths(*[BEFORE] * IN_A_ROW, crashed=True) == [False] * (IN_A_ROW - 1) + [True]


def test_on_a_new_connection_it_begins_anew():
    made = Deaths(0.0, BEFORE)
    for _ in range(IN_A_ROW):
        made.another(BEFORE, crashed=True)
    made.begin_anew(1.0)
    assert not made.another(BEFORE, crashed=True)


def test_nobody_is_served_while_no_fs_is_well_and_nothing_is_taken():
    made = Deaths(10.0, BEFORE)
    assert made.unserved(15.0, BEFORE, well=False) == 5.0
    assert made.unserved(16.0, poison(1001), well=False) == 0.0
    assert made.unserved(18.0, poison(1001), well=False) == 2.0
    assert made.unserved(19.0, poison(1001), well=True) == 0.0
    made.begin_anew(30.0)
    assert made.unserved(31.0, poison(1001), well=False) == 1.0
