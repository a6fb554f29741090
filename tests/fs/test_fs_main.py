"""What fs does around its parts: nothing before INIT, everything in order, and nothing left of an orphan."""

from types import SimpleNamespace

import pytest
import trio
from fs_memory import journal_halves
from fs_world import entry, ref, tree, world
from trio.testing import wait_all_tasks_blocked

from secretfs.fs import main
from secretfs.link import pulse

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


async def test_no_notification_and_no_word_of_control_before_init_is_handled(monkeypatch):
    order, ready = Order(), trio.Event()
    monkeypatch.setattr(main, "ControlLink", lambda *_: order)
    monkeypatch.setattr(main, "confine", lambda: order.said.append("confined"))  # not this process
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main._settle, order, order, ready)
        main._controls(order, ready, nursery)(None, 0)
        await wait_all_tasks_blocked()
        assert order.said == []
        ready.set()
    order.said.remove("control")
    assert order.said == ["confined", pulse.Ready(), "settled", "drains"]


async def test_a_control_is_heard_when_the_one_before_has_ended(monkeypatch):
    ended, said = trio.Event(), []

    class Link:
        def __init__(self, name, *_):
            self.name = name

        async def run(self):
            said.append(self.name)
            if self.name == "old":
                await ended.wait()
            said.append(self.name)

    monkeypatch.setattr(main, "ControlLink", Link)
    ready = trio.Event()
    ready.set()
    async with trio.open_nursery() as nursery:
        wired = main._controls(None, ready, nursery)
        for name in ("old", "new"):
            wired(name, 0)
            await wait_all_tasks_blocked()
        assert said == ["old"]
        ended.set()
    assert said == ["old", "old", "new", "new"]


async def test_a_wipe_leaves_no_plaintext():
    contents = [ref("a"), ref("b")]
    async with world() as fs:
        await fs.put(T1, tree(entry("a", contents[0]), entry("b", contents[1])))
        main._wipe(fs.arena, fs.manifest)
        assert not fs.plaintexts(contents)


class Supervisors:
    """The link to one supervisor after the other: what each says at its end, True for stop."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.heirs = []

    async def run(self, *, wired):  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        return self.ends.pop(0)

    def goes_on(self, end):
        self.heirs.append(end)


@pytest.mark.parametrize(
    ("ends", "heirs", "met"),
    [
        ([True], [], []),
        ([False], [None], []),
        ([False, True], ["a"], ["a"]),
        ([False, False, False], ["a", "b", None], ["a", "b"]),
    ],
)
async def test_fs_serves_one_supervisor_after_the_other_until_it_is_told_to_stop_or_none_comes(ends, heirs, met):
    supervisors, coming = Supervisors(*ends), list(heirs)

    async def given():
        await trio.lowlevel.checkpoint()
        return coming.pop(0)

    with trio.fail_after(2), trio.CancelScope() as scope:
        await main._serve_supervisors(supervisors, None, given, scope)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert (supervisors.heirs, coming, supervisors.ends) == (met, [], [])


@pytest.mark.parametrize(("alone", "rounds"), [(False, 1), (True, 3)])
async def test_fs_asks_to_be_replaced_only_when_there_is_somebody_to_do_it(alone, rounds):
    served = []

    async def serve():
        await trio.lowlevel.checkpoint()
        served.append(True)
        return len(served) < 3

    code = await main._served_kernel(SimpleNamespace(serve=serve), SimpleNamespace(alone=alone))
    assert (code, len(served)) == (main.EXIT_UNMOUNTED if alone else 0, rounds)
