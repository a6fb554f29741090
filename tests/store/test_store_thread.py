"""The thread of commits: quick ones and slow ones are answered, in order, and none is abandoned."""

import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.store.thread import PATIENCE_SECONDS, Thread


@pytest.fixture
async def thread():
    with Thread("test") as made:
        yield made


class Gate:
    """What is done when somebody opens it."""

    def __init__(self, answer: object = None) -> None:
        self.open = threading.Event()
        self._answer = answer

    def __call__(self) -> object:
        assert self.open.wait(10)
        return self._answer


async def test_what_is_quick_is_answered(thread):
    assert await thread.run(lambda: 7) == 7


async def test_what_is_slow_holds_up_only_who_waits_for_it(thread):
    gate, answers = Gate(7), []

    async def ask():
        answers.append(await thread.run(gate))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert answers == []
        gate.open.set()
    assert answers == [7]


async def test_what_is_over_just_when_patience_ends_is_answered_as_well(thread):
    for turn in range(200):
        pause = threading.Event()
        assert await thread.run(lambda turn=turn, pause=pause: (pause.wait(PATIENCE_SECONDS), turn)[1]) == turn


async def test_what_it_raises_is_raised_here(thread):
    with pytest.raises(LookupError, match="x"):
        await thread.run(lambda: {}["x"])


async def test_what_is_slow_raises_here_too(thread):
    gate = Gate()

    def slow():
        gate()
        raise LookupError("late")

    with pytest.RaisesGroup(LookupError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(thread.run, slow)
            await wait_all_tasks_blocked()
            gate.open.set()


async def test_what_was_begun_is_done_and_answered_also_when_its_task_is_cancelled(thread):
    gate, done = Gate(7), []

    async def ask():
        done.append(await thread.run(gate))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        gate.open.set()
    assert done == [7]


async def test_who_is_cancelled_already_begins_nothing(thread):
    ran = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await thread.run(lambda: ran.append(1))
    assert ran == []


async def test_all_is_done_in_the_order_it_was_given_in(thread):
    order = []
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.run, gate)
        await wait_all_tasks_blocked()
        for number in range(20):
            nursery.start_soon(thread.run, lambda number=number: order.append(number))
            await wait_all_tasks_blocked()
        gate.open.set()
    assert order == list(range(20))
