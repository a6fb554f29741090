"""The journal: each batch there whole or not at all, whatever happens to its writer."""

from itertools import pairwise

import pytest
from fs_memory import KilledError, Memory, copied, fresh, journal_halves
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.errors import ArenaFullError
from secretfs.fs import journal
from secretfs.fs.journal import Journal
from secretfs.link.layout import PAGE, ArenaLayout

HALF, RESERVED = 600, 100
LAYOUT = ArenaLayout(PAGE)


@pytest.fixture(autouse=True)
def small_halves():
    with journal_halves(HALF, RESERVED):
        yield


class Set:
    """A state on a journal: a set of short words. A batch adds a word or takes one away."""

    def __init__(self, memory: Memory) -> None:
        self.words: set[bytes] = set()
        self._journal = Journal(memory, LAYOUT)
        for batch in self._journal.replay():
            self._apply(batch)

    def commit(self, sign: bytes, word: bytes) -> None:
        batch = sign + word + b"\n"
        self._journal.append(batch, self._snapshot, reserved=sign == b"-")
        self._apply(batch)

    def _snapshot(self) -> bytes:
        return b"".join(b"+" + word + b"\n" for word in sorted(self.words)) or b"\n"

    def _apply(self, batch: bytes) -> None:
        for line in batch.split(b"\n"):
            if line:
                (self.words.add if line[:1] == b"+" else self.words.discard)(line[1:])


def committed(state: Set, sign: bytes, word: bytes) -> bool:
    try:
        state.commit(sign, word)
    except ArenaFullError:
        return False
    return True


STEPS = st.lists(st.tuples(st.sampled_from([b"+", b"+", b"-"]), st.binary(min_size=1, max_size=60)), max_size=60).map(
    lambda steps: [(sign, word.replace(b"\n", b"n")) for sign, word in steps]
)


@given(STEPS, st.sets(st.integers(0, 60)))
def test_any_batches_survive_reopening_at_any_point(steps, reopened):
    memory, model = fresh(LAYOUT), set()
    state = Set(memory)
    for at, (sign, word) in enumerate(steps):
        if committed(state, sign, word):
            (model.add if sign == b"+" else model.discard)(word)
        assert state.words == model
        if at in reopened:
            state = Set(memory)
            assert state.words == model
    assert Set(copied(memory)).words == model


@settings(max_examples=25)
@given(STEPS, st.binary(min_size=1, max_size=60).map(lambda word: word.replace(b"\n", b"n")))
def test_a_writer_killed_at_any_byte_leaves_the_state_before_or_after(steps, word):
    memory = fresh(LAYOUT)
    state = Set(memory)
    for step in steps:
        committed(state, *step)
    before, after = set(state.words), state.words | {word}
    seen, budget, dead = [], 0, True
    while dead:
        dying = copied(memory)
        state = Set(dying)
        dying.budget = budget
        try:
            state.commit(b"+", word)
            dead = False
        except ArenaFullError:
            return
        except KilledError:
            dying.budget = None
        left = Set(copied(dying)).words
        seen.append(left)
        assert left in (before, after)
        budget += 1
    assert seen[0] == before
    assert seen[-1] == after
    flips = sum(a != b for a, b in pairwise(seen))
    assert flips == (before != after), "once a batch is there, more bytes do not take it back"


def killed_while(act, memory: Memory, budget: int) -> Memory:
    dying = copied(memory)
    state = Set(dying)
    dying.budget = budget
    with pytest.raises(KilledError):
        act(state)
    dying.budget = None
    return dying


def test_a_writer_killed_in_a_compaction_loses_nothing_at_any_byte():
    memory = fresh(LAYOUT)
    state = Set(memory)
    model: set[bytes] = set()
    while state._journal._half == 0:
        before = copied(memory)
        word = b"word%d" % len(model)
        state.commit(b"+", word)
        model.add(word)
        if len(model) % 2:  # leaves something to compact away
            state.commit(b"-", word)
            model.discard(word)
    total = 0
    for budget in range(2000):
        try:
            dying = killed_while(lambda state: state.commit(b"+", b"last"), before, budget)
        except pytest.fail.Exception:
            total = budget
            break
        left = Set(dying)
        assert left.words - {b"last"} == Set(copied(before)).words
        left.commit(b"+", b"next")  # a successor goes on from there
        assert b"next" in Set(copied(dying)).words
    assert total > 0


def test_a_successor_of_a_killed_writer_can_be_killed_too():
    memory = fresh(LAYOUT)
    Set(memory).commit(b"+", b"first")
    for first in range(40):
        for second in range(0, 40, 7):
            try:
                dying = killed_while(lambda state: state.commit(b"+", b"x" * 9), memory, first)
                dying = killed_while(lambda state: state.commit(b"+", b"yy"), dying, second)
            except pytest.fail.Exception:
                continue
            assert Set(dying).words - {b"x" * 9, b"yy"} == {b"first"}


def test_a_full_journal_refuses_and_still_takes_away():
    memory = fresh(LAYOUT)
    state = Set(memory)
    filling = (state.commit(b"+", b"word %d" % number) for number in range(1000))
    with pytest.raises(ArenaFullError, match="manifest is full: fewer tasks or fewer grants"):
        list(filling)
    count = len(state.words)
    assert count > 10
    assert Set(copied(memory)).words == state.words
    for number in range(count):
        state.commit(b"-", b"word %d" % number)
    assert not Set(copied(memory)).words
    state.commit(b"+", b"room again")


def test_a_batch_larger_than_a_half_is_refused_and_changes_nothing():
    memory = fresh(LAYOUT)
    state = Set(memory)
    state.commit(b"+", b"small")
    with pytest.raises(ArenaFullError):
        state.commit(b"+", b"x" * HALF)
    state.commit(b"+", b"after")
    assert Set(copied(memory)).words == {b"small", b"after"}


@given(st.binary(max_size=300), st.integers(0, 300))
def test_what_lies_behind_the_end_of_the_journal_is_never_read(garbage, shift):
    """An older compaction's bytes, of a half that is used again."""
    memory = fresh(LAYOUT)
    at = LAYOUT.journals[0] + 16 + shift
    garbage = garbage[: LAYOUT.journals[1] - at]
    memory[at : at + len(garbage)] = garbage
    state = Set(memory)
    assert not state.words
    for number in range(5):
        state.commit(b"+", b"w%d" % number)
        assert Set(copied(memory)).words == state.words


@given(st.binary(min_size=32, max_size=32))
def test_a_header_that_was_half_written_is_not_believed(header):
    memory = fresh(LAYOUT)
    state = Set(memory)
    state.commit(b"+", b"kept")
    memory[32:64] = header
    assert Set(copied(memory)).words == {b"kept"}


def test_a_batch_that_hides_in_the_bytes_of_one_that_was_never_finished_is_not_read():
    """Names in a batch are chosen by users: one could hold a whole batch, just where the next one would begin."""
    memory = fresh(LAYOUT)
    forged_payload = b"+forged\n"
    forged = journal._BATCH.pack(len(forged_payload), journal._checksum(1, forged_payload), 1) + forged_payload
    short = b"+a\n"
    long_word = b"x" * (len(short) - 1) + forged
    dying = killed_while(lambda state: state.commit(b"+", long_word), memory, 1 + len(long_word) + 1)
    state = Set(dying)
    assert not state.words
    state.commit(b"+", b"a")
    assert Set(dying).words == {b"a"}
