"""The chain of the audit: whatever is done to its rows shows, and it goes on after anything."""

import msgspec
import pytest
import trio
from control_harness import ME
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.control.audit import PREFIX, TAG_BYTES, AuditRecord, counted, decoded, records, row_key
from secretfs.control.chain import HEAD, Chain
from secretfs.control.records.codec import encode
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.store.base import Del, Item, Put
from secretfs.store.sqlite import opened

KEY = bytes(range(32))


def record(name: str, time_ns: int = 2**60) -> AuditRecord:
    return AuditRecord(time_ns, "secret create", "secret", "x", name, 0, 1)


async def kept(store, *names: str, **limits: int) -> Commits:
    commits = Commits(store, Chain(KEY, **limits))
    for name in names:
        await commits.keep([record(name)])
    return commits


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path / "s.db") as store:
        yield store


async def names(store) -> list[str]:
    return [found.name for found in await records(store)]


async def test_what_was_kept_is_there_in_order_and_fits(store):
    commits = await kept(store, "a", "b", "c")
    verdict = await commits.chain.verified(store)
    assert (verdict.records, verdict.broken, await names(store)) == (3, "", ["a", "b", "c"])
    again = await kept(store, "d")
    assert (await again.chain.verified(store)).records == 4


async def test_an_act_is_a_link_as_well(store):
    commits = await kept(store, "a")

    async def decide() -> Change[None]:
        return Change((), (Put("secret/1", b"x"),), Act("secret create", "secret", "1", "b"), None)

    await commits.change(ME, decide)
    assert await names(store) == ["a", "b"]
    assert (await commits.chain.verified(store)).records == 2


@given(data=st.data())
@settings(max_examples=40, deadline=None)
async def test_whatever_is_done_to_a_row_is_found(data, tmp_path_factory):
    async with opened(tmp_path_factory.mktemp("chain") / "s.db") as store:
        commits = await kept(store, *"abcde")
        number = data.draw(st.integers(0, 4))
        item = await store.get(row_key(number))
        act = data.draw(st.sampled_from(["change", "remove", "replace", "append"]))
        if act == "change":
            at = data.draw(st.integers(0, len(item.value) - 1))
            value = bytearray(item.value)
            value[at] ^= data.draw(st.integers(1, 255))
            await store.commit([], [Put(item.key, bytes(value))])
        elif act == "remove":
            await store.commit([], [Del(item.key)])
        elif act == "replace":
            other = await store.get(row_key((number + 1) % 5))
            await store.commit([], [Put(item.key, other.value)])
        else:
            await store.commit([], [Put(HEAD, b"{}")])
        assert (await commits.chain.verified(store)).broken
        started = Commits(store, Chain(KEY))
        await started.prepared()
        assert (await started.chain.verified(store)).broken


async def test_another_key_fits_nothing(store):
    await kept(store, "a")
    other = Commits(store, Chain(bytes(32)))
    await other.keep([record("b")])
    assert "was lost or changed" in (await other.chain.verified(store)).broken


async def test_without_its_head_the_chain_goes_on_and_says_so_for_ever(store):
    await kept(store, "a", "b")
    await store.commit([], [Del(HEAD)])
    commits = await kept(store, "c")
    assert await names(store) == ["a", "b", "c"]
    for _ in range(2):
        assert "rows up to 1 prove nothing" in (await commits.chain.verified(store)).broken
        commits = await kept(store, "d")


async def test_too_many_bytes_are_cut_from_the_front_and_the_rest_fits(store):
    commits = await kept(store, *(f"n{number}" for number in range(100)), most_bytes=5000)
    assert commits.chain.too_much.is_set()
    assert await commits.trim()
    found = await records(store)
    assert (found[-1].action, found[0].name) == ("audit trim", f"n{found[-1].detail['Records']}")
    assert commits.chain.head.size <= 5000
    assert not (await commits.chain.verified(store)).broken
    assert sum(len(item.value) for item in (await store.list(PREFIX)).items) == commits.chain.head.size


async def test_what_is_too_old_goes_and_what_is_not_stays(store):
    commits = Commits(store, Chain(KEY, most_seconds=3600))
    for name in ("old", "older"):
        await commits.keep([record(name, time_ns=1)])
    await commits.keep([record("new", time_ns=2**62)])
    assert await commits.trim()
    assert not await commits.trim()
    assert await names(store) == ["new", ""]
    assert not (await commits.chain.verified(store)).broken


async def test_what_an_older_version_kept_is_linked_at_the_first_start(store):
    from secretfs.control.records.codec import encode

    old = [record(name, time_ns=10**18 + at) for at, name in enumerate("ab")]
    await store.commit([], [Put(f"audit/{one.time_ns:020d}-ff", encode(one)) for one in old])
    commits = await kept(store, "c")
    assert await names(store) == ["a", "b", "c"]
    assert (await commits.chain.verified(store)).records == 3


async def test_two_ends_of_one_chain_do_not_break_it(store):
    one, other = await kept(store, "a"), await kept(store, "b")
    await one.keep([record("c")])
    await other.keep([record("d")])
    assert await names(store) == ["a", "b", "c", "d"]
    assert not (await other.chain.verified(store)).broken


async def test_rows_of_thousands_of_opens_are_counted_without_them_and_let_others_have_turns(store, monkeypatch):
    commits = Commits(store, Chain(KEY, most_bytes=1000))
    long_ago = msgspec.structs.replace(record("a", 1), again=list(range(50)))
    for _ in range(20):
        await commits.keep([long_ago])
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert len(await records(store)) == 20 * 51
        assert turns >= 20
        with monkeypatch.context() as patch:
            patch.setattr("secretfs.control.audit._acts", None)
            assert (await commits.chain.verified(store)).records == 20 * 51
            assert await commits.trim()
        nursery.cancel_scope.cancel()
    [*_, trim] = await records(store)
    assert trim.action == "audit trim"
    assert trim.detail["Records"] % 51 == 0


@given(st.lists(st.integers(-100, 100), max_size=5), st.lists(st.integers(-100, 100), max_size=5))
def test_a_row_is_counted_as_it_is_decoded(one, other):
    row = [
        msgspec.structs.replace(record("a", 1000), again=one),
        msgspec.structs.replace(record("b", 999), again=other),
    ]
    item = Item("audit/1", bytes(TAG_BYTES) + encode(row), 1)
    acts = decoded(item)
    assert counted(item) == (len(acts), max(act.time_ns for act in acts))
