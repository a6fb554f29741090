"""What fs does around its parts: nothing before INIT, everything in order, and nothing left of an orphan."""

import pytest
import trio
from fs_memory import journal_halves
from fs_world import entry, ref, tree, world
from trio.testing import wait_all_tasks_blocked

from secretfs.fs import main
from secretfs.link import frames

T1 = "1" * 25


@pytest.fixture(autouse=True)
def small_halves():
    with journal_halves(1 << 17, 1 << 14):
        yield


class Order:
    """Takes the parts of everything that is told, and remembers the order."""

    def __init__(self):
        self.said = []

    def send(self, frame):
        self.said.append(frame)

    async def settle(self):
        self.said.append("settled")

    async def end_drains(self):
        self.said.append("drains")

    async def run(self):
        self.said.append("control")


async def test_no_notification_and_no_word_of_control_before_init_is_handled():
    order, ready = Order(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main._settle, order, order, ready)
        nursery.start_soon(main._serve_control, order, ready)
        await wait_all_tasks_blocked()
        assert order.said == []
        ready.set()
    order.said.remove("control")
    assert order.said == [frames.Ready(), "settled", "drains"]


async def test_an_orphan_serves_on_for_a_while_and_then_leaves_no_plaintext(monkeypatch):
    contents = [ref("a"), ref("b")]
    async with world() as fs:
        await fs.put(T1, tree(entry("a", contents[0]), entry("b", contents[1])))
        asked = []

        async def sleep(seconds):
            asked.append((seconds, fs.plaintexts(contents)))

        monkeypatch.setattr(main.trio, "sleep", sleep)
        await main._orphaned(fs.arena, fs.manifest)
        assert asked == [(main.ORPHAN_SECONDS, set(contents))]
        assert not fs.plaintexts(contents)


@pytest.mark.parametrize("told_to_stop", [True, False])
async def test_fs_ends_when_it_is_told_and_wipes_first_when_nobody_told_it(monkeypatch, told_to_stop):
    class Supervisor:
        async def run(self, *, wired):  # noqa: ARG002
            await trio.lowlevel.checkpoint()
            return told_to_stop

    wiped = []

    async def orphaned(*_):
        wiped.append(True)

    monkeypatch.setattr(main, "_orphaned", orphaned)
    with trio.fail_after(2), trio.CancelScope() as scope:
        await main._serve_supervisor(Supervisor(), None, None, None, scope)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert bool(wiped) is not told_to_stop
