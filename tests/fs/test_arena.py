"""Pages of plaintext: never two owners, wiped when released, and nothing kept that no slot names."""

import pytest
from fs_memory import fresh, journal_halves
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from secretfs.errors import ArenaFullError
from secretfs.fs.arena import Arena
from secretfs.fs.manifest import Slot
from secretfs.link.layout import PAGE, ArenaLayout, pages

TOTAL = 12
LAYOUT = ArenaLayout(TOTAL * PAGE)


@pytest.fixture(autouse=True)
def small_halves():
    with journal_halves(PAGE, 100):
        yield


def slot(page: int, size: int, serial: int = 1) -> Slot:
    return Slot(serial, page, 1, size, "a" * 25)


class Pages(RuleBasedStateMachine):
    """Random allocations, releases and restarts beside a dict of first page → bytes."""

    @initialize()
    def begin(self):
        self._small = journal_halves(PAGE, 100)
        self._small.__enter__()
        self.memory = fresh(LAYOUT)
        self.arena = Arena(self.memory, LAYOUT, 4 * PAGE, [])
        self.held: dict[int, bytes] = {}
        self.counts: dict[int, int] = {}

    def teardown(self):
        if hasattr(self, "_small"):
            self._small.__exit__(None, None, None)

    @rule(size=st.integers(1, 5 * PAGE))
    def allocate(self, size):
        try:
            page = self.arena.allocate(size)
        except ArenaFullError:
            assert self._longest_free_run() < pages(size), "refused while there was room"
            return
        value = bytes([len(self.held) + 1]) * size
        assert not any(self.arena.data(page, size)), "what is given out holds nothing"
        self.arena.data(page, size)[:] = value
        self.held[page], self.counts[page] = value, 0

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def release(self, data):
        page = data.draw(st.sampled_from(sorted(self.held)))
        size = len(self.held.pop(page))
        del self.counts[page]
        self.arena.wipe(page, size)
        start = LAYOUT.data + page * PAGE
        assert not any(self.memory[start : start + pages(size) * PAGE])

    @rule(data=st.data(), opens=st.integers(-3, 3))
    @precondition(lambda self: self.held)
    def opened_or_closed(self, data, opens):
        page = data.draw(st.sampled_from(sorted(self.held)))
        for _ in range(abs(opens)):
            (self.arena.opened if opens > 0 else self.arena.closed)(page)
        self.counts[page] = max(0, self.counts[page] + opens)

    @rule(more=st.integers(0, TOTAL))
    def grow(self, more):
        self.arena.grown(more * PAGE)

    @rule(data=st.data())
    def restart(self, data):
        named = data.draw(st.sets(st.sampled_from(sorted(self.held)))) if self.held else set()
        self.held = {page: self.held[page] for page in named}
        self.counts = {page: self.counts[page] for page in named}
        slots = [slot(page, len(value)) for page, value in self.held.items()]
        self.arena = Arena(self.memory, LAYOUT, self.arena.usable, slots)

    @invariant()
    def every_byte_has_one_owner_or_is_zero(self):
        if not hasattr(self, "arena"):
            return
        expected = bytearray(LAYOUT.data_bytes)
        for page, value in self.held.items():
            assert not any(expected[page * PAGE : (page + pages(len(value))) * PAGE])
            expected[page * PAGE : page * PAGE + len(value)] = value
            assert page + pages(len(value)) <= self.arena.usable // PAGE, "no page beyond what is locked"
        assert self.memory[LAYOUT.data :] == expected
        for page, count in self.counts.items():
            assert self.arena.open_count(slot(page, 1)) == count

    def _longest_free_run(self):
        taken = {at for page, value in self.held.items() for at in range(page, page + pages(len(value)))}
        longest = run = 0
        for page in range(self.arena.usable // PAGE):
            run = 0 if page in taken else run + 1
            longest = max(longest, run)
        return longest


TestPages = Pages.TestCase
TestPages.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_full_arena_says_what_to_do():
    arena = Arena(fresh(LAYOUT), LAYOUT, TOTAL * PAGE, [])
    arena.allocate(TOTAL * PAGE)
    with pytest.raises(ArenaFullError, match=r"no room for 1 bytes: raise --arena-max \(49152 bytes\)"):
        arena.allocate(1)


@pytest.mark.parametrize(("written", "act", "kept"), [(2**32 - 1, "opened", 2**32 - 1), (0, "closed", 0)])
def test_counts_saturate(written, act, kept):
    memory = fresh(LAYOUT)
    arena = Arena(memory, LAYOUT, PAGE, [])
    memory[LAYOUT.counts : LAYOUT.counts + 4] = written.to_bytes(4, "little")
    getattr(arena, act)(0)
    assert arena.open_count(slot(0, 1)) == kept


@given(st.lists(st.integers(1, 2 * PAGE), min_size=1, max_size=5), st.data())
@settings(max_examples=40)
def test_a_successor_wipes_what_no_slot_names_and_nothing_else(sizes, data):
    with journal_halves(PAGE, 100):
        memory = fresh(LAYOUT)
        arena = Arena(memory, LAYOUT, TOTAL * PAGE, [])
        slots = [slot(arena.allocate(size), size, serial) for serial, size in enumerate(sizes)]
        memory[LAYOUT.data :] = b"\xaa" * LAYOUT.data_bytes
        memory[LAYOUT.counts : LAYOUT.counts + 4 * TOTAL] = b"\x01" * 4 * TOTAL
        named = data.draw(st.lists(st.sampled_from(slots), unique=True))
        Arena(memory, LAYOUT, TOTAL * PAGE, named)
        kept = {page for one in named for page in range(one.first_page, one.first_page + pages(one.size))}
        for page in range(TOTAL):
            start = LAYOUT.data + page * PAGE
            assert memory[start : start + PAGE] == (b"\xaa" if page in kept else b"\0") * PAGE
            count = LAYOUT.counts + 4 * page
            assert any(memory[count : count + 4]) == (page in kept)


def test_a_value_is_a_view_of_the_arena_and_no_copy():
    memory = fresh(LAYOUT)
    arena = Arena(memory, LAYOUT, PAGE, [])
    memory[LAYOUT.data : LAYOUT.data + 5] = b"hello"
    assert bytes(arena.data(0, 5)) == b"hello"
    arena.data(0, 5)[:] = b"bye!!"
    assert memory[LAYOUT.data : LAYOUT.data + 5] == b"bye!!"
