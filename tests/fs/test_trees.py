"""Trees without a kernel module: what every client sees, what stays in memory, and what a successor makes of it."""

import errno

import pytest
import trio
from fs_memory import journal_halves
from fs_world import entry, ref, tree, value_of, world
from pyfuse3 import FUSEError
from trio.testing import wait_all_tasks_blocked

from secretfs.core.names import Kind
from secretfs.errors import ArenaFullError, LinkError, NotFoundError, UnsealError, WithheldError
from secretfs.fs import trees
from secretfs.link.layout import PAGE

T1, T2 = "1" * 25, "2" * 25
A1, A2, A3, B1, C1 = ref("a", 1), ref("a", 2), ref("a", 3), ref("b", 1), ref("c", 1)
SHORT_MS = 150  # of a drain: an end to wait for, and time to look before it
SECRET = Kind.SECRET


@pytest.fixture(autouse=True)
def small_halves():
    with journal_halves(1 << 17, 1 << 14):
        yield


def errno_of(act, *args):
    with pytest.raises(FUSEError) as refusal:
        act(*args)
    return refusal.value.errno


def opened(fs, target, task=T1):
    return fs.kernel.open(fs.kernel.walk(task, "secrets", target))


async def until(condition):
    with trio.fail_after(5):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_a_put_tree_is_seen_and_a_dropped_one_is_gone_from_memory():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1, uid=7, mode=0o400), entry("d/e/b", B1)))
        assert fs.seen(T1, SECRET, "a") == (7, 0o400, value_of(A1))
        assert fs.seen(T1, SECRET, "d/e/b") == (0, 0o444, value_of(B1))
        assert fs.plaintexts([A1, B1]) == {A1, B1}
        await fs.trees.drop(T1)
        assert fs.seen(T1, SECRET, "a") is None
        assert fs.plaintexts([A1, B1]) == set()
        assert not fs.manifest.nodes
        assert not fs.manifest.slots
        assert not fs.manifest.notices


async def test_dropping_a_task_that_is_not_there_is_no_error():
    async with world() as fs:
        await fs.trees.drop(T1)


async def test_an_empty_tree_has_its_three_directories():
    async with world() as fs:
        await fs.put(T1, tree())
        assert fs.kernel.list(fs.kernel.walk(T1)) == ["secrets", "configs"]
        assert fs.trees.tasks == {T1}


async def test_the_root_lists_nothing():
    async with world() as fs:
        await fs.put(T1, tree())
        assert fs.kernel.list(1) == []


async def test_a_name_that_was_looked_up_before_appears():
    async with world() as fs:
        await fs.put(T1, tree())
        assert fs.seen(T1, SECRET, "d/a") is None
        await fs.put(T1, tree(entry("d/a", A1)))
        assert fs.seen(T1, SECRET, "d/a")
        assert fs.seen(T1, SECRET, "d/b") is None
        await fs.put(T1, tree(entry("d/a", A1), entry("d/b", B1)))
        assert fs.seen(T1, SECRET, "d/b")


async def test_a_flush_goes_withdrawn_zeros_inode_wipe_names_children_first():
    async with world() as fs:
        await fs.put(T1, tree(entry("d/a", A1), entry("b", B1)))
        handles = [opened(fs, target) for target in ("d/a", "b")]
        for handle in handles:
            fs.kernel.map(handle)
        fs.events.clear()

        def refused(event):
            fs.events.append(event)
            assert [errno_of(fs.kernel.read, handle) for handle in handles] == [errno.EACCES] * 2

        fs.moment = refused
        await fs.trees.drop(T1)
        acts = [event.split()[0] for event in fs.events]
        assert acts == ["store", "inode"] * 2 + ["wipe"] * 2 + ["entry"] * 6
        names = [event.split()[-1] for event in fs.events if event.startswith("entry")]
        for first, then in [("b'a'", "b'd'"), ("b'd'", "b'secrets'"), ("b'secrets'", f"b'{T1}'")]:
            assert names.index(first) < names.index(then)
        stores = [what for act, _, what in fs.kernel.told if act == "store"]
        assert sorted(len(data) for _, data in stores) == sorted(len(value_of(content)) for content in (A1, B1))
        assert not fs.kernel.pages


async def test_a_slot_is_shared_by_tasks_and_wiped_at_the_last():
    async with world() as fs:
        for task in (T1, T2):
            await fs.put(task, tree(entry("a", A1)))
        assert len(fs.manifest.slots) == 1
        await fs.trees.drop(T1)
        assert fs.seen(T2, SECRET, "a") == (0, 0o444, value_of(A1))
        await fs.trees.drop(T2)
        assert not fs.plaintexts([A1])


async def test_a_revoked_descriptor_is_refused_and_stays_so_when_the_secret_is_granted_again():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree())
        assert errno_of(fs.kernel.read, handle) == errno.EACCES
        await fs.put(T1, tree(entry("a", A1)))
        assert errno_of(fs.kernel.read, handle) == errno.EACCES


async def test_sub_directories_go_with_their_last_file_and_no_sooner():
    async with world() as fs:
        await fs.put(T1, tree(entry("d/a", A1), entry("d/e/b", B1), entry("d/e/c", C1)))
        await fs.put(T1, tree(entry("d/a", A1), entry("d/e/c", C1)))
        assert sorted(fs.kernel.list(fs.kernel.walk(T1, "secrets", "d"))) == ["a", "e"]
        await fs.put(T1, tree(entry("d/a", A1)))
        assert fs.kernel.list(fs.kernel.walk(T1, "secrets", "d")) == ["a"]
        await fs.put(T1, tree(entry("d", A1)))
        assert fs.seen(T1, SECRET, "d") == (0, 0o444, value_of(A1))
        await fs.put(T1, tree(entry("d/e", A1)))
        assert fs.seen(T1, SECRET, "d/e") == (0, 0o444, value_of(A1))


# -- Replace ---------------------------------------------------------------------------------------------------------


async def test_a_rotation_keeps_the_inode_and_is_seen_at_the_next_open():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        before = fs.kernel.walk(T1, "secrets", "a")
        fs.kernel.stat(before)
        await fs.put(T1, tree(entry("a", A2)))
        assert fs.seen(T1, SECRET, "a") == (0, 0o444, value_of(A2))
        assert fs.kernel.walk(T1, "secrets", "a") == before
        assert fs.plaintexts([A1, A2]) == {A2}


async def test_an_open_descriptor_keeps_the_old_version_until_it_is_closed():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2)))
        assert fs.kernel.read(handle) == value_of(A1)
        await fs.restart()
        assert fs.kernel.read(handle) == value_of(A1)
        fs.kernel.close(handle)
        await until(lambda: fs.plaintexts([A1, A2]) == {A2})
        assert errno_of(fs.kernel.read, handle) == errno.EACCES


async def test_a_drain_that_is_over_refuses_and_wipes_the_old_version():
    """Nothing else happens meanwhile: it ends by its own clock."""
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await wait_all_tasks_blocked()
        await fs.put(T1, tree(entry("a", A2, drain_ms=SHORT_MS)))
        assert fs.kernel.read(handle) == value_of(A1)
        await until(lambda: fs.plaintexts([A1, A2]) == {A2})
        assert errno_of(fs.kernel.read, handle) == errno.EACCES
        assert fs.seen(T1, SECRET, "a") == (0, 0o444, value_of(A2))


async def test_no_drain_refuses_every_older_version_at_once():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        first = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2)))
        second = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A3, drain_ms=0)))
        assert [errno_of(fs.kernel.read, handle) for handle in (first, second)] == [errno.EACCES] * 2
        assert fs.plaintexts([A1, A2, A3]) == {A3}


async def test_a_shorter_drain_holds_for_the_versions_before_it_too():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        first = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2)))
        second = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A3, drain_ms=SHORT_MS)))
        assert [fs.kernel.read(handle) for handle in (first, second)] == [value_of(A1), value_of(A2)]
        await until(lambda: fs.plaintexts([A1, A2, A3]) == {A3})


async def test_a_longer_drain_does_not_prolong_one_that_runs():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2, drain_ms=SHORT_MS)))
        opened(fs, "a")
        await fs.put(T1, tree(entry("a", A3, drain_ms=60_000)))
        await until(lambda: fs.plaintexts([A1, A2, A3]) == {A2, A3})


async def test_a_successor_ends_the_drain_that_it_finds_when_its_time_is_over():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2, drain_ms=SHORT_MS)))
        await fs.restart()
        assert fs.kernel.read(handle) == value_of(A1)
        await until(lambda: fs.plaintexts([A1, A2]) == {A2})
        assert errno_of(fs.kernel.read, handle) == errno.EACCES


async def test_pages_that_a_draining_descriptor_mapped_go_with_the_drain():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        fs.kernel.map(handle)
        await fs.put(T1, tree(entry("a", A2)))
        assert not fs.kernel.pages
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fs.kernel, "pages", {handle.ino: value_of(A1)[: len(value_of(A2))]})
            fs.kernel.close(handle)
            await until(lambda: not fs.kernel.pages)


async def test_a_rollback_takes_back_a_version_that_still_drains():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2)))
        await fs.put(T1, tree(entry("a", A1)))
        assert not fs.manifest.drains
        assert fs.plaintexts([A1, A2]) == {A1}
        fs.kernel.close(handle)
        assert fs.seen(T1, SECRET, "a") == (0, 0o444, value_of(A1))


async def test_another_object_at_the_target_refuses_open_descriptors_at_once():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree(entry("a", B1)))
        assert errno_of(fs.kernel.read, handle) == errno.EACCES
        assert fs.plaintexts([A1, B1]) == {B1}


async def test_another_object_at_the_target_ends_the_drains_of_the_one_before():
    """The grant is gone, and with it every version of it: not only the one that was shown last."""
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2)))
        await fs.put(T1, tree(entry("a", B1)))
        assert errno_of(fs.kernel.read, handle) == errno.EACCES
        assert fs.plaintexts([A1, A2, B1]) == {B1}


async def test_a_revocation_ends_a_drain():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2)))
        await fs.put(T1, tree())
        assert errno_of(fs.kernel.read, handle) == errno.EACCES
        assert not fs.plaintexts([A1, A2])


async def test_owner_and_mode_change_under_open_descriptors():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        fs.kernel.stat(handle.ino)
        await fs.put(T1, tree(entry("a", A1, uid=9, mode=0o400)))
        assert fs.kernel.read(handle) == value_of(A1)
        assert fs.seen(T1, SECRET, "a") == (9, 0o400, value_of(A1))


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [NotFoundError("gone"), UnsealError("wrong"), LinkError("control went away")])
async def test_what_goes_is_gone_even_when_what_comes_cannot(refusal):
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1), entry("b", B1), entry("c", C1)))
        fs.refuse = lambda entry: refusal if entry.content == ref("x") else None
        with pytest.raises(type(refusal)):
            await fs.put(T1, tree(entry("b", A2), entry("c", ref("c", 2)), entry("x", ref("x"))))
        assert fs.seen(T1, SECRET, "a") is None, "a revocation"
        assert fs.seen(T1, SECRET, "b") is None, "another object was to come: the old grant is gone"
        assert fs.seen(T1, SECRET, "c") == (0, 0o444, value_of(C1)), "the version before stays"
        assert fs.seen(T1, SECRET, "x") is None
        assert fs.plaintexts([A1, A2, B1, C1, ref("c", 2), ref("x")]) == {C1}


async def test_a_refused_first_tree_leaves_no_task_and_no_byte():
    async with world() as fs:
        fs.refuse = lambda entry: UnsealError("wrong") if entry.target == "z" else None
        with pytest.raises(UnsealError):
            await fs.put(T1, tree(entry("a", A1), entry("z", B1)))
        assert not fs.trees.tasks
        assert not fs.plaintexts([A1, B1])


async def test_what_is_withheld_waits_what_it_replaces_stays_and_all_else_comes():
    locked = {ref("b", 2), ref("c", 2), ref("x")}
    before = tree(entry("a", A1), entry("b", A2), entry("c", C1), entry("gone", B1))
    after = tree(
        entry("a", A1, uid=9), entry("b", ref("b", 2)), entry("c", ref("c", 2)), entry("x", ref("x")), entry("y", C1)
    )
    async with world() as fs:
        await fs.put(T1, before)
        fs.refuse = lambda entry: WithheldError("locked") if entry.content in locked else None
        for _ in range(2):
            with pytest.raises(WithheldError, match="3 files have to wait"):
                await fs.put(T1, after)
            assert fs.seen(T1, SECRET, "a") == (9, 0o444, value_of(A1))
            assert fs.seen(T1, SECRET, "b") is None, "another object is to come: the old grant is gone"
            assert fs.seen(T1, SECRET, "c") == (0, 0o444, value_of(C1)), "the version before stays"
            assert fs.seen(T1, SECRET, "gone") is None
            assert fs.seen(T1, SECRET, "x") is None
            assert fs.seen(T1, SECRET, "y") == (0, 0o444, value_of(C1))
            assert fs.plaintexts([A1, A2, B1, C1, *locked]) == {A1, C1}
        await fs.restart()
        fs.refuse = lambda _: None
        await fs.put(T1, after)
        for one in after.values():
            assert fs.seen(T1, SECRET, one.target) == (one.uid, 0o444, value_of(one.content))


async def test_a_first_tree_of_which_all_is_withheld_is_an_empty_directory():
    async with world() as fs:
        fs.refuse = lambda _: WithheldError("locked")
        with pytest.raises(WithheldError):
            await fs.put(T1, tree(entry("a", A1), entry("d/b", B1)))
        assert fs.trees.tasks == {T1}
        assert errno_of(fs.kernel.walk, T1, "secrets", "a") == errno.ENOENT
        assert not fs.plaintexts([A1, B1])
        fs.refuse = lambda _: None
        await fs.put(T1, tree(entry("a", A1), entry("d/b", B1)))
        assert fs.seen(T1, SECRET, "d/b") == (0, 0o444, value_of(B1))


async def test_a_full_arena_refuses_and_still_flushes():
    async with world(data_pages=8) as fs:
        large = [ref(name) for name in "aefghijkl"]
        await fs.put(T1, tree(entry("gone", B1)))
        with pytest.raises(ArenaFullError, match="raise --arena-max"):
            await fs.put(T1, tree(*[entry(f"t{at}", content) for at, content in enumerate(large)]))
        assert fs.seen(T1, SECRET, "gone") is None
        assert not fs.plaintexts([B1, *large])
        await fs.put(T1, tree(entry("a", A1)))


async def test_an_arena_that_cannot_be_locked_further_refuses():
    async with world(usable_pages=1) as fs:
        fs.grows_to = PAGE
        with pytest.raises(ArenaFullError):
            await fs.put(T1, tree(*[entry(name, ref(name)) for name in "abcdefg"]))
        fs.grows_to = None
        await fs.put(T1, tree(*[entry(name, ref(name)) for name in "abcdefg"]))
        assert all(fs.seen(T1, SECRET, name) for name in "abcdefg")


async def test_a_full_manifest_refuses_what_comes_and_lets_go_what_goes():
    with journal_halves(8000, 3000):
        async with world() as fs:
            await fs.put(T1, tree(entry("a", A1)))

            async def fill():
                for number in range(100):
                    await fs.put(f"{number:025}", tree(entry("a", A1)))

            with pytest.raises(ArenaFullError, match="manifest is full"):
                await fill()
            tasks = set(fs.trees.tasks)
            assert T1 in tasks
            for task in tasks:
                await fs.trees.drop(task)
            assert not fs.plaintexts([A1])
            await fs.put(T1, tree(entry("a", A1)))


async def test_a_flush_larger_than_the_reserve_of_a_full_manifest_is_not_refused(monkeypatch):
    """It is written in parts: whatever was granted can be taken back."""
    monkeypatch.setattr(trees, "_AT_ONCE", 10)
    with journal_halves(24000, 3000):
        async with world() as fs:
            await fs.put(T1, tree(*[entry(f"d/file{number}", A1) for number in range(60)]))

            async def fill():
                for number in range(100):
                    await fs.put(f"{number:025}", tree(entry("a", A1)))

            with pytest.raises(ArenaFullError):
                await fill()
            await fs.trees.drop(T1)
            assert T1 not in fs.trees.tasks
            assert fs.seen(T1, SECRET, "d/file1") is None
            await fs.restart()
            assert T1 not in fs.trees.tasks


# -- changes that meet -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
async def test_a_version_whose_drain_ends_is_not_wiped_under_a_change_that_shows_it_again(refused):
    """The last descriptor on the old version is closed while a rollback to it waits for the value of another file."""
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        await fs.put(T1, tree(entry("a", A2)))

        async def closed(_entry):
            fs.kernel.close(handle)
            await until(lambda: not fs.manifest.drains and not fs.manifest.notices)

        fs.before_fill = closed
        fs.refuse = lambda _entry: UnsealError("wrong") if refused else None
        try:
            await fs.put(T1, tree(entry("a", A1), entry("b", B1)))
        except UnsealError:
            assert refused
            assert fs.seen(T1, SECRET, "a") == (0, 0o444, value_of(A2))
            assert fs.plaintexts([A1, A2, B1]) == {A2}
            return
        assert not refused
        assert fs.seen(T1, SECRET, "a") == (0, 0o444, value_of(A1))
        assert fs.seen(T1, SECRET, "b") == (0, 0o444, value_of(B1))
        await fs.trees.drop(T1)
        assert not fs.plaintexts([A1, B1])


async def test_a_version_on_its_way_out_of_one_tree_may_come_into_another(monkeypatch):
    """The kernel is still being told of a drop when another tree takes up the same version and waits for a value."""
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        filling, dropped = trio.Event(), trio.Event()
        tell = trees.flush.tell

        async def late(notices, *, wipe):
            await filling.wait()
            return await tell(notices, wipe=wipe)

        async def hold(_entry):
            filling.set()
            await dropped.wait()

        async def drop():
            await fs.trees.drop(T1)
            dropped.set()

        monkeypatch.setattr(trees.flush, "tell", late)
        fs.before_fill = hold
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drop)
            await until(lambda: T1 not in fs.trees.tasks)
            nursery.start_soon(fs.put, T2, tree(entry("a", A1), entry("b", B1)))
        assert fs.seen(T2, SECRET, "a") == (0, 0o444, value_of(A1))
        assert fs.seen(T2, SECRET, "b") == (0, 0o444, value_of(B1))


async def test_a_kernel_that_does_not_answer_delays_neither_refusal_nor_wipe(monkeypatch):
    monkeypatch.setattr(trees, "TELL_SECONDS", 0.05)
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        handle = opened(fs, "a")
        held = trio.Event()
        tell = trees.flush.tell

        async def late(notices, *, wipe):
            await held.wait()
            return await tell(notices, wipe=wipe)

        monkeypatch.setattr(trees.flush, "tell", late)
        with trio.fail_after(2):
            await fs.put(T1, tree())
        assert errno_of(fs.kernel.read, handle) == errno.EACCES
        assert not fs.plaintexts([A1])
        assert fs.manifest.notices, "a successor would still tell it"
        held.set()
        await until(lambda: not fs.manifest.notices)
        assert fs.seen(T1, SECRET, "a") is None


async def test_a_notification_that_is_refused_is_kept_for_a_successor():
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        opened(fs, "a")
        fs.kernel.fails = {"entry": errno.EIO}
        await fs.put(T1, tree())
        assert not fs.plaintexts([A1])
        assert len(fs.manifest.notices) == 1
        fs.kernel.fails = {}
        await fs.restart()
        assert not fs.manifest.notices
        assert fs.seen(T1, SECRET, "a") is None
