"""fs writes every open down before it answers; what a kill left in doubt is said once more, and marked."""

from mmap import mmap

import pytest

from secretfs.fs.opens import Opens
from secretfs.link import ring
from secretfs.link.ring import ANSWERED, HEAD, LOST, SLOTS, TAIL, WAITING, Subject

DB = ring.subject_slots(Subject(0, 3, "t" * 25, "o" * 25, "db"))
KEY = ring.subject_slots(Subject(1, 1, "t" * 25, "p" * 25, "a/" * 200 + "key"))


class World:
    def __init__(self) -> None:
        self.memory = mmap(-1, ring.RING_BYTES)
        self.words = memoryview(self.memory)[: ring.HEADER_BYTES].cast("Q")
        self.woken = 0
        self.opens = self.successor()

    def successor(self) -> Opens:
        return Opens(self.memory, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def read(self) -> list[ring.Opened]:
        """All that are there, each for itself."""
        found: list[ring.Opened] = []
        number, memory = self.words[TAIL], memoryview(self.memory)
        while number < self.words[HEAD]:
            _, same, number = ring.read(memory, number, self.words[HEAD])
            found.append(ring.opened(same))
        return found


@pytest.fixture
def world():
    return World()


def test_an_open_is_there_with_who_and_what(world):
    world.opens.record(DB, 12, 1000, 100)
    world.opens.record(KEY, 13, 0, 0)
    one, two = world.read()
    assert (one.thread, one.uid, one.gid, one.subject) == (12, 1000, 100, Subject(0, 3, "t" * 25, "o" * 25, "db"))
    assert (two.thread, two.subject.kind, two.subject.target) == (13, 1, "a/" * 200 + "key")


def test_a_full_ring_holds_65536_and_counts_what_it_lost(world):
    for _ in range(SLOTS + 3):
        world.opens.record(DB, 1, 0, 0)
    assert len(world.read()) == SLOTS == 65_536
    assert world.words[LOST] == 3
    world.words[TAIL] += 1
    world.opens.record(DB, 2, 0, 0)
    assert world.read()[-1].thread == 2
    assert world.words[LOST] == 3


def test_a_record_of_several_slots_never_covers_one_that_was_not_read(world):
    for _ in range(SLOTS - 1):
        world.opens.record(DB, 1, 0, 0)
    world.opens.record(KEY, 2, 0, 0)
    assert world.words[LOST] == 1
    assert len(world.read()) == SLOTS - 1


def test_control_is_woken_once_and_only_after_the_answer(world):
    world.opens.answered()
    world.words[WAITING] = 1
    world.opens.record(DB, 1, 0, 0)
    assert world.woken == 0
    world.opens.answered()
    world.opens.record(DB, 1, 0, 0)
    world.opens.answered()
    assert world.woken == 1


def test_a_successor_wakes_control_for_what_was_not_told(world):
    world.words[WAITING] = 1
    world.opens.record(DB, 1, 0, 0)
    world.successor().answered()
    assert world.woken == 1


def test_the_open_that_the_kernel_asks_again_says_so(world):
    world.opens.record(DB, 1, 0, 0)
    world.opens.answered()
    world.opens.record(KEY, 7, 0, 0)
    successor = world.successor()
    for subject, thread in ((DB, 1), (KEY, 7), (KEY, 7)):
        successor.record(subject, thread, 0, 0)
        successor.answered()
    assert [found.repeated for found in world.read()] == [False, False, False, True, False]


def test_nothing_is_marked_when_all_was_answered(world):
    world.opens.record(DB, 1, 0, 0)
    world.opens.answered()
    successor = world.successor()
    successor.record(DB, 1, 0, 0)
    assert [found.repeated for found in world.read()] == [False, False]


def test_another_file_of_the_same_thread_repeats_nothing(world):
    world.opens.record(DB, 1, 0, 0)
    successor = world.successor()
    successor.record(KEY, 1, 0, 0)
    successor.record(DB, 1, 0, 0)
    assert [found.repeated for found in world.read()] == [False, False, False]


def test_a_death_in_the_middle_of_a_record_leaves_what_was_there(world):
    world.opens.record(DB, 1, 0, 0)
    world.opens.answered()
    at = ring.slot_at(1)
    world.memory[at : at + 40] = b"\xff" * 40
    successor = world.successor()
    successor.record(KEY, 2, 0, 0)
    assert [found.thread for found in world.read()] == [1, 2]
    assert world.words[ANSWERED] == 1
