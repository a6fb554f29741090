"""The arena and the mailbox as the supervisor holds them: locked, out of dumps, wiped."""

import os

import pytest

from secretfs.errors import SetupError
from secretfs.link.layout import GROW_BYTES, MAILBOX_BYTES, PAGE
from secretfs.linux import memory
from secretfs.supervisor.arena import ArenaMemory, Mailbox

DATA = 4 * GROW_BYTES


@pytest.fixture
def arena():
    made = ArenaMemory.made(DATA)
    yield made
    made._memory.close()
    os.close(made.fd)


def test_the_first_step_is_usable_at_once(arena):
    assert arena.usable == GROW_BYTES
    assert os.fstat(arena.fd).st_size == arena.layout.total


def test_a_small_arena_is_usable_as_a_whole():
    arena = ArenaMemory.made(3 * PAGE)
    assert arena.usable == 3 * PAGE
    assert arena.grow(1 << 40) == 0
    assert arena.usable == 3 * PAGE
    arena._memory.close()
    os.close(arena.fd)


@pytest.mark.parametrize(
    ("wanted", "usable"),
    [
        (0, GROW_BYTES),
        (GROW_BYTES, GROW_BYTES),
        (GROW_BYTES + 1, GROW_BYTES + PAGE),
        (2 * GROW_BYTES, 2 * GROW_BYTES),
        (DATA + 1, DATA),
        (2**64 - 1, DATA),
    ],
)
def test_it_grows_by_whole_pages_up_to_its_size_and_never_shrinks(arena, wanted, usable):
    assert arena.grow(wanted) == 0
    assert arena.usable == usable


def test_each_step_locks_what_was_not_locked_and_nothing_else(monkeypatch):
    locked = []
    monkeypatch.setattr(memory, "mlock", lambda _mapping, offset, length: locked.append((offset, length)))
    arena = ArenaMemory.made(DATA)
    for wanted in (GROW_BYTES, 2 * GROW_BYTES, 2 * GROW_BYTES, DATA):
        arena.grow(wanted)
    start = arena.layout.data
    assert locked == [
        (start, GROW_BYTES),
        (start + GROW_BYTES, GROW_BYTES),
        (start + 2 * GROW_BYTES, DATA - 2 * GROW_BYTES),
    ]
    arena._memory.close()
    os.close(arena.fd)


def refusing(*_):
    raise OSError(12, "Cannot allocate memory")


def test_memory_that_cannot_be_locked_is_an_errno_and_changes_nothing(arena, monkeypatch):
    monkeypatch.setattr(memory, "mlock", refusing)
    assert arena.grow(DATA) == 12
    assert arena.usable == GROW_BYTES


def test_an_arena_of_which_nothing_can_be_locked_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "mlock", refusing)
    with pytest.raises(SetupError) as refusal:
        ArenaMemory.made(DATA)
    assert str(refusal.value) == (
        "the arena cannot be locked in memory: Cannot allocate memory: CAP_IPC_LOCK or a higher ulimit -l is needed"
    )


def test_a_wipe_leaves_no_plaintext_and_no_manifest(arena):
    mapped = memory.mapped(arena.fd, arena.layout.total)
    arena.grow(GROW_BYTES + PAGE)
    for at in (arena.layout.data, arena.layout.data + arena.usable - 5, 0, *arena.layout.journals):
        mapped[at : at + 5] = b"bytes"
    arena.wipe()
    assert not any(mapped[arena.layout.data : arena.layout.data + arena.usable])
    assert not any(mapped[:PAGE])
    for journal in arena.layout.journals:
        assert not any(mapped[journal : journal + PAGE])
    mapped.close()


def test_nobody_who_holds_the_arena_can_cut_it(arena):
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, PAGE)


def test_a_mailbox_is_locked_and_wiped_at_its_end():
    mailbox = Mailbox()
    mapped = memory.mapped(mailbox.fd, MAILBOX_BYTES)
    mapped[:5] = b"bytes"
    with open("/proc/self/smaps") as file:
        text = file.read()
    assert "secretfs-mailbox" in text
    part = text.partition("secretfs-mailbox")[2].partition("VmFlags:")
    assert "Locked:" in part[0]
    flags = [one.partition("VmFlags:")[2].split("\n")[0].split() for one in text.split("secretfs-mailbox")[1:]]
    assert any({"lo", "dd", "dc"} <= set(found) for found in flags)
    mailbox.end()
    assert not any(mapped[:])
    mapped.close()
