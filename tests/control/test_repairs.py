"""When dead mounts are looked for."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.control.repairs import ATTEMPTS, Repairs
from secretfs.errors import UnavailableError


class Supervisor:
    """Says how many mounts are dead still, or does not answer."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def repair(self):
        await trio.lowlevel.checkpoint()
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else 0
        if answer is None:
            raise UnavailableError("no answer")
        return answer


@pytest.mark.parametrize(
    ("answers", "asked"),
    [([0], 1), ([2, 1, 0], 3), ([None, 0], 2), ([1] * 100, ATTEMPTS), ([None] * 100, ATTEMPTS)],
)
async def test_it_is_tried_again_but_not_for_ever(autojump_clock, answers, asked):
    supervisor = Supervisor(*answers)
    repairs = Repairs(supervisor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(repairs.run)
        await wait_all_tasks_blocked()
        assert supervisor.asked == 0, "nothing is due"
        repairs.due()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert supervisor.asked == asked


async def test_what_becomes_due_meanwhile_is_done_afterwards(autojump_clock):
    supervisor = Supervisor(1, 0, 0)
    repairs = Repairs(supervisor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(repairs.run)
        repairs.due()
        await trio.sleep(0.1)
        repairs.due()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert supervisor.asked == 3
