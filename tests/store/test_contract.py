"""What every engine does. A second engine is added in conftest.py, and nothing here changes."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from secretfs.errors import StoreError
from secretfs.store.base import MAX_OPS, Changes, Compacted, Conflict, Del, Guard, Item, Op, Put, Store

Engine = Callable[[], AbstractAsyncContextManager[Store]]


async def put(store: Store, *pairs: tuple[str, bytes]) -> int:
    rev = await store.commit([], [Put(key, value) for key, value in pairs])
    assert isinstance(rev, int)
    return rev


# --- get and commit -----------------------------------------------------------------------------------------


async def test_a_record_that_was_never_written_is_none(store: Store) -> None:
    assert await store.get("nothing") is None


@pytest.mark.parametrize("value", [b"", b"x", b"\0\xff\n" * 9, b"v" * 1_100_000])
async def test_a_value_comes_back_byte_for_byte(store: Store, value: bytes) -> None:
    rev = await put(store, ("k", value))
    assert await store.get("k") == Item("k", value, rev)


@pytest.mark.parametrize("key", ["name/ü", "a b\n", "a\0b", "\udc80", "%_*?[", "\U0010ffff"])
async def test_any_text_is_a_key(store: Store, key: str) -> None:
    assert await store.get(key) is None
    item = Item(key, b"v", await put(store, (key, b"v")))
    assert await store.get(key) == item
    assert (await store.list(key)).items == (item,)
    assert await store.watch(key, 0) == Changes(1, ((key, item),))


async def test_revisions_count_the_commits_and_a_record_has_that_of_its_last(store: Store) -> None:
    assert [await put(store, ("a", b"1")), await put(store, ("b", b"2"), ("c", b"3"))] == [1, 2]
    assert await put(store, ("a", b"4")) == 3
    assert [item.rev for item in (await store.list("")).items] == [3, 2, 2]


async def test_guards_that_hold_let_the_commit_through(store: Store) -> None:
    rev = await put(store, ("a", b"1"))
    assert await store.commit([Guard("a", rev), Guard("new", 0)], [Put("new", b""), Del("a")]) == 2
    assert await store.get("a") is None


@pytest.mark.parametrize(
    ("guards", "conflict"),
    [
        ([Guard("a", 0)], Conflict("a", 1)),
        ([Guard("a", 2)], Conflict("a", 1)),
        ([Guard("absent", 7)], Conflict("absent", 0)),
        ([Guard("a", 1), Guard("absent", 1), Guard("a", 9)], Conflict("absent", 0)),
    ],
)
async def test_a_guard_that_does_not_hold_is_answered_and_nothing_is_done(
    store: Store, guards: list[Guard], conflict: Conflict
) -> None:
    await put(store, ("a", b"1"))
    assert await store.commit(guards, [Put("a", b"2"), Put("b", b"")]) == conflict
    assert (await store.list("")).items == (Item("a", b"1", 1),)
    assert (await store.list("")).rev == 1


async def test_deleting_what_is_not_there_changes_nothing(store: Store) -> None:
    rev = await put(store, ("a", b"1"))
    assert await store.commit([], [Del("b")]) == rev
    assert await store.commit([], []) == rev
    assert await store.commit([Guard("a", rev)], []) == rev
    assert (await store.list("")).rev == rev


async def test_a_revision_is_never_used_again(engine: Engine) -> None:
    async with engine() as store:
        await put(store, ("a", b"1"))
        await store.commit([], [Del("a")])
    async with engine() as store:
        assert await put(store, ("a", b"2")) == 3
        assert await store.commit([Guard("a", 1)], [Del("a")]) == Conflict("a", 3)


async def test_what_was_written_is_there_after_a_restart(engine: Engine) -> None:
    async with engine() as store:
        rev = await put(store, ("a", b"1"), ("b", b"2"))
    async with engine() as store:
        assert (await store.list("")).items == (Item("a", b"1", rev), Item("b", b"2", rev))


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([Put("a", b""), Put("a", b"")], "a commit has one operation for a key, not several"),
        ([Put("a", b""), Del("a")], "a commit has one operation for a key, not several"),
        ([Put("", b"")], "a key may not be empty"),
        ([Del(str(n)) for n in range(MAX_OPS + 1)], "a commit has at most 20000 operations, not 20001"),
    ],
)
async def test_a_commit_that_breaks_the_contract_is_refused(store: Store, ops: list[Op], message: str) -> None:
    with pytest.raises(StoreError) as caught:
        await store.commit([], ops)
    assert str(caught.value) == message
    assert (await store.list("")).rev == 0


async def test_a_value_does_not_print_itself() -> None:
    assert "hunter2" not in repr([Item("k", b"hunter2", 1), Put("k", b"hunter2")])


# --- list ---------------------------------------------------------------------------------------------------


async def test_a_list_has_the_keys_below_the_prefix_in_order(store: Store) -> None:
    await put(store, *((key, b"") for key in ["b/2", "b/10", "b", "b0", "a/1", "b/", "c", "b/é", "b/\U0010ffff"]))
    listing = await store.list("b/")
    assert [item.key for item in listing.items] == ["b/", "b/10", "b/2", "b/é", "b/\U0010ffff"]
    assert (listing.damaged, listing.rev) == ((), 1)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_together_are_the_list(store: Store, limit: int) -> None:
    keys = [f"k/{n:02}" for n in range(10)]
    await put(store, *((key, b"") for key in keys), ("l", b""))
    found, after = list[str](), ""
    while page := (await store.list("k/", after, limit)).items:
        assert len(page) <= limit
        found += [item.key for item in page]
        after = found[-1]
    assert found == keys


async def test_an_empty_store_is_an_empty_list_at_revision_0(store: Store) -> None:
    listing = await store.list("")
    assert (listing.items, listing.damaged, listing.rev) == ((), (), 0)


# --- against a model ----------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "a/", "a/b", "b", "é"])
COMMITS = st.lists(
    st.tuples(
        st.lists(st.builds(Guard, KEYS, st.integers(0, 4)), max_size=2),
        st.lists(
            st.builds(Put, KEYS, st.binary(max_size=4)) | st.builds(Del, KEYS),
            max_size=3,
            unique_by=lambda op: op.key,
        ),
    ),
    max_size=8,
)


class Model:
    """The contract in memory, as short as it can be said."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.rev = 0

    def commit(self, guards: list[Guard], ops: list[Op]) -> int | Conflict:
        for guard in guards:
            rev = self.items[guard.key].rev if guard.key in self.items else 0
            if rev != guard.rev:
                return Conflict(guard.key, rev)
        ops = [op for op in ops if isinstance(op, Put) or op.key in self.items]
        self.rev += bool(ops)
        for op in ops:
            if isinstance(op, Put):
                self.items[op.key] = Item(op.key, op.value, self.rev)
            else:
                del self.items[op.key]
        return self.rev


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=COMMITS)
def test_any_row_of_commits_does_what_the_model_does(
    engine: Engine, commits: list[tuple[list[Guard], list[Op]]]
) -> None:
    async def run() -> None:
        model = Model()
        async with engine() as store:
            before = await store.list("")
            await store.commit([], [Del(item.key) for item in before.items])
            start = (await store.list("")).rev
            model.rev = start
            for guards, ops in commits:
                assert await store.commit(guards, ops) == model.commit(guards, ops)
            listing = await store.list("")
            assert listing.items == tuple(model.items[key] for key in sorted(model.items))
            assert listing.rev == model.rev
            if model.rev > start:
                answer = await store.watch("", start)
                assert isinstance(answer, Changes)
                assert {key: item for key, item in answer.changes if item} == model.items

    trio.run(run)


# --- watch --------------------------------------------------------------------------------------------------


async def test_a_watch_from_the_past_gives_each_changed_key_once_as_it_is_now(store: Store) -> None:
    start = await put(store, ("w/old", b""), ("w/gone", b""))
    await put(store, ("w/a", b"1"))
    await put(store, ("w/a", b"2"), ("other", b""))
    rev = await store.commit([], [Del("w/gone")])
    assert await store.watch("w/", start) == Changes(4, (("w/a", Item("w/a", b"2", 3)), ("w/gone", None)))
    assert rev == 4


async def test_a_watch_waits_for_a_change_below_its_prefix(store: Store) -> None:
    start, answers = await put(store, ("w/a", b"")), list[Changes | Compacted]()

    async def watch() -> None:
        answers.append(await store.watch("w/", start))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        await put(store, ("x", b""))
        await wait_all_tasks_blocked()
        assert answers == []
        await put(store, ("w/b", b"1"))
    assert answers == [Changes(3, (("w/b", Item("w/b", b"1", 3)),))]


async def test_a_commit_that_changes_nothing_hides_no_other_from_a_watch(store: Store) -> None:
    start = await store.commit([], [Put("other", b"x")])
    assert isinstance(start, int)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            answers: list[Changes | Compacted] = []

            async def watch() -> None:
                answers.append(await store.watch("w/", start))

            nursery.start_soon(watch)
            await wait_all_tasks_blocked(0.1)
            await store.commit([], [Put("w/a", b"1")])
            await store.commit([], [Del("not there")])
    assert answers == [Changes(2, (("w/a", Item("w/a", b"1", 2)),))]


async def test_watches_in_a_row_miss_nothing_while_others_write(store: Store) -> None:
    seen, commits = set[str](), 60

    async def write(writer: int) -> None:
        for n in range(commits // 3):
            await put(store, (f"w/{writer}/{n}", b""), (f"x/{writer}/{n}", b""))

    async def watch() -> None:
        rev = 0
        while len(seen) < commits:
            answer = await store.watch("w/", rev)
            assert isinstance(answer, Changes)
            assert answer.rev > rev
            new = {key for key, _ in answer.changes}
            assert not new & seen
            seen.update(new)
            rev = answer.rev

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for writer in range(3):
            nursery.start_soon(write, writer)
    assert len(seen) == commits


async def test_a_watch_from_the_revision_of_a_list_goes_on_where_the_list_ended(engine: Engine) -> None:
    async with engine() as store:
        await put(store, ("w/a", b""))
        rev = (await store.list("w/")).rev
        await put(store, ("w/b", b""))
    async with engine() as store:
        answer = await store.watch("w/", rev)
        assert isinstance(answer, Changes)
        assert [key for key, _ in answer.changes] == ["w/b"]


async def test_a_watch_from_a_revision_that_never_was_says_list_again(store: Store) -> None:
    await put(store, ("a", b""))
    assert await store.watch("", 2) == Compacted(0)


async def test_a_watch_that_is_cancelled_hurts_nobody(store: Store) -> None:
    with trio.move_on_after(0):
        await store.watch("", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.watch, "", 0)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await put(store, ("a", b"")) == 1
