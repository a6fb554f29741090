"""The ring of opens: what was written is read, what is torn or from another time is not taken for a record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.errors import LinkError
from secretfs.link import ring
from secretfs.link.ring import Opened, Subject

ID = "k" * 25
TARGETS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=1000)
SUBJECTS = st.builds(
    Subject, st.integers(0, 1), st.integers(0, 2**32 - 1), st.just(ID), st.just("0" * 25), TARGETS | st.just("x" * 4096)
)


def written(subject: Subject, number: int) -> tuple[memoryview, int]:
    """A ring in which the subject was opened, and the number of the slot after it."""
    memory = memoryview(bytearray(ring.RING_BYTES))
    first, *rest = ring.subject_slots(subject)
    ring.SLOT.pack_into(memory, ring.slot_at(number), number, 7, 1, 2, 3, 0, first)
    for at, part in enumerate(rest, start=number + 1):
        ring.put_more(memory, at, part)
    return memory, number + 1 + len(rest)


@given(SUBJECTS, st.integers(0, 1 << 40))
def test_what_was_written_is_read(subject, number):
    memory, end = written(subject, number)
    time_ns, same, after = ring.read(memory, number, end)
    assert (time_ns, after, ring.opened(same)) == (7, end, Opened(1, 2, 3, False, subject))


@given(SUBJECTS)
def test_a_record_that_is_not_all_below_the_head_is_none(subject):
    memory, end = written(subject, 5)
    with pytest.raises(LinkError, match="slot 5 of the ring of opens holds no record"):
        ring.read(memory, 5, end - 1)


def test_a_slot_of_another_turn_is_none():
    memory, _ = written(Subject(0, 1, ID, ID, "db"), 5)
    with pytest.raises(LinkError, match="holds no record"):
        ring.read(memory, 5 + ring.SLOTS, 6 + ring.SLOTS)


def test_a_part_of_another_record_is_none():
    memory, end = written(Subject(0, 1, ID, ID, "x" * 300), ring.SLOTS - 1)
    _, same, _ = ring.read(memory, ring.SLOTS - 1, end)
    assert ring.opened(same).subject.target == "x" * 300, "it goes round the end"
    ring.put_more(memory, ring.SLOTS * 2, b"other")
    with pytest.raises(LinkError, match="is of another record"):
        ring.read(memory, ring.SLOTS - 1, end)


@given(st.binary(min_size=ring.SLOT_BYTES, max_size=ring.SLOT_BYTES))
def test_any_bytes_are_a_record_or_refused(data):
    memory = memoryview(bytearray(ring.RING_BYTES))
    memory[ring.slot_at(0) : ring.slot_at(1)] = data
    found: ring.Gathered = {}
    after, left_out = ring.gather(memory, 0, 1, found, end=1)
    assert (after, left_out + sum(map(len, found.values()))) == (1, 1)


def test_what_is_no_record_is_passed_over():
    memory, _ = written(Subject(0, 1, ID, ID, "db"), 1)
    found: ring.Gathered = {}
    assert ring.gather(memory, 0, 2, found, end=2) == (2, 1)
    [same] = found
    assert ring.opened(same).subject.target == "db"


ACTS = st.tuples(st.integers(0, 3), st.sampled_from([Subject(0, 1, ID, ID, target) for target in ("a", "b" * 300)]))


@given(st.lists(ACTS, max_size=60), st.integers(0, 40), st.integers(1, 60))
def test_opens_are_gathered_by_all_but_their_time_however_they_are_cut(acts, before_the_end, step):
    """Round the end of the ring, and a few slots at a time."""
    memory = memoryview(bytearray(ring.RING_BYTES))
    first = number = ring.SLOTS - before_the_end
    for time_ns, (thread, subject) in enumerate(acts):
        part, *rest = ring.subject_slots(subject)
        ring.SLOT.pack_into(memory, ring.slot_at(number), number, time_ns, thread, 2, 3, 0, part)
        number += 1
        for more in rest:
            ring.put_more(memory, number, more)
            number += 1
    found: ring.Gathered = {}
    at = first
    while at < number:
        at, left_out = ring.gather(memory, at, number, found, end=at + step)
        assert not left_out
    whole = {act: [time_ns for time_ns, other in enumerate(acts) if other == act] for act in acts}
    assert {(ring.opened(same).thread, ring.opened(same).subject): times for same, times in found.items()} == whole
