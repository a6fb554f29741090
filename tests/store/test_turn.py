"""A turn is one holder's at a time, and the next is who asked first."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.store.turn import Turn


async def test_who_finds_it_free_goes_on_at_once():
    ran = []
    async with trio.open_nursery() as nursery:

        async def other():
            ran.append("other")

        nursery.start_soon(other)
        async with Turn():
            ran.append("one")
    assert ran == ["one", "other"]


async def test_one_after_the_other_in_the_order_they_came_in():
    turn, order, free = Turn(), [], trio.Event()

    async def hold(number):
        async with turn:
            order.append(number)
            await free.wait()

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(hold, number)
            await wait_all_tasks_blocked()
        assert order == [0]
        free.set()
    assert order == [0, 1, 2]


async def test_who_waits_can_be_cancelled_and_whoever_fails_gives_it_back():
    turn = Turn()

    async def wait_in_vain():
        with trio.CancelScope() as scope:
            scope.cancel()
            async with turn:
                pytest.fail("it was taken")
        assert scope.cancelled_caught

    async def fail():
        async with turn:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_in_vain)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with turn:
        assert turn.waiting == 0
