"""Rules that are commits with guards, under writers that race: openings of one store, as of several processes."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial

import pytest
import trio

from secretfs.store.base import Conflict, Del, Guard, Item, Put, Store

Engine = Callable[[], AbstractAsyncContextManager[Store]]
Answer = int | Conflict


async def race(*actors: Callable[[], Awaitable[Answer]]) -> list[Answer]:
    """What each was answered, in the order of the actors."""
    answers: dict[int, Answer] = {}

    async def act(number: int) -> None:
        answers[number] = await actors[number]()

    async with trio.open_nursery() as nursery:
        for number in range(len(actors)):
            nursery.start_soon(act, number)
    return [answers[number] for number in range(len(actors))]


@pytest.mark.parametrize("openings", [1, 4])
async def test_of_ten_racing_creates_of_one_name_one_wins(engine: Engine, openings: int) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(engine()) for _ in range(openings)]

        def create(number: int) -> Callable[[], Awaitable[Answer]]:
            ops = [Put("name/pw", b"%d" % number), Put(f"secret/{number}", b"")]
            return partial(stores[number % openings].commit, [Guard("name/pw", 0)], ops)

        answers = await race(*map(create, range(10)))
        winners = [number for number, answer in enumerate(answers) if not isinstance(answer, Conflict)]
        assert len(winners) == 1
        assert {a for a in answers if isinstance(a, Conflict)} == {Conflict("name/pw", 1)}
        items = (await stores[0].list("")).items
        assert items == (Item("name/pw", b"%d" % winners[0], 1), Item(f"secret/{winners[0]}", b"", 1))


@pytest.mark.parametrize("openings", [1, 2])
async def test_of_a_removal_and_a_grant_exactly_one_happens(engine: Engine, openings: int) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(engine()) for _ in range(openings)]
        for number in range(20):
            secret, refs, service = f"secret/{number}", f"refs/{number}", f"service/{number}"
            rev = await stores[0].commit([], [Put(secret, b""), Put(refs, b"none"), Put(service, b"")])
            assert isinstance(rev, int)
            guards = [Guard(refs, rev)]
            answers = await race(
                partial(stores[0].commit, guards, [Del(secret), Del(refs)]),
                partial(stores[-1].commit, guards, [Put(service, b"granted"), Put(refs, b"used")]),
            )
            removed = await stores[0].get(secret) is None
            granted = (await stores[0].get(service) or Item("", b"", 0)).value == b"granted"
            assert removed != granted
            assert [isinstance(answer, Conflict) for answer in answers] == [granted, removed]


async def test_of_racing_updates_of_one_revision_none_is_lost(engine: Engine) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(engine()) for _ in range(4)]
        await stores[0].commit([], [Put("count", b"0")])

        async def count(store: Store) -> None:
            added = 0
            while added < 10:
                item = await store.get("count")
                assert item is not None
                ops = [Put("count", b"%d" % (int(item.value) + 1))]
                added += isinstance(await store.commit([Guard("count", item.rev)], ops), int)

        async with trio.open_nursery() as nursery:
            for store in stores:
                nursery.start_soon(count, store)
        assert (await stores[0].get("count") or Item("", b"", 0)).value == b"40"


async def test_a_list_never_shows_half_of_a_commit(engine: Engine) -> None:
    async with engine() as writer, engine() as reader:
        await writer.commit([], [Put("a", b"0"), Put("b", b"0")])
        done = trio.Event()

        async def write() -> None:
            for n in range(100):
                await writer.commit([], [Put("a", b"%d" % n), Put("b", b"%d" % n)])
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            while not done.is_set():
                listing = await reader.list("")
                assert len({(item.value, item.rev) for item in listing.items}) == 1
                assert listing.rev == listing.items[0].rev
