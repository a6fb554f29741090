"""How the device is waited for, with a pipe in its place, and what trio gets meanwhile."""

import errno
import os
import select
import threading
from types import SimpleNamespace

import pyfuse3
import pytest
import trio
import trio.lowlevel

from secretfs.fs import loop
from secretfs.fs.loop import Host

ENOUGH_SECONDS = 10
SILENT = SimpleNamespace(unanswered=False)


@pytest.fixture(autouse=True)
def namespace(monkeypatch):
    monkeypatch.setattr(pyfuse3, "trio", trio)
    monkeypatch.setattr(pyfuse3, "_wait_fuse_readable", pyfuse3._wait_fuse_readable)


class Device:
    """A pipe that pyfuse3's loop would serve: a byte is a request, its end the end of the connection."""

    def __init__(self, monkeypatch):
        self.reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.served: list[bytes] = []
        self.on_request = lambda: None
        monkeypatch.setattr(pyfuse3, "main", self.main)

    def ask(self, requests: bytes = b"x") -> None:
        os.write(self._writing, requests)

    def end(self) -> None:
        os.close(self._writing)

    async def main(self, *, min_tasks, max_tasks):
        assert (min_tasks, max_tasks) == (1, 1)
        async with pyfuse3.trio.open_nursery() as nursery:
            nursery.start_soon(self._worker, name="worker")

    async def _worker(self):
        while await pyfuse3._wait_fuse_readable():
            request = os.read(self.reading, 1)
            if not request:
                return
            self.served.append(request)
            self.on_request()


@pytest.fixture
def device(monkeypatch):
    found = Device(monkeypatch)
    yield found
    os.close(found.reading)


def hosted(main, device=None, *, spin=0.0):
    """Run it with a host of its own, which is what it gets."""
    host = Host(spin)
    host.begin(device.reading if device else 0, ready=lambda: None, answers=SILENT)

    async def limited():
        with trio.fail_after(ENOUGH_SECONDS):
            return await main(host)

    return host.run(limited)


def test_a_host_gives_what_it_ran_gave():
    async def main(_):
        await trio.lowlevel.checkpoint()
        return 7

    assert hosted(main) == 7


def test_a_host_raises_what_it_ran_raised():
    async def main(_):
        await trio.lowlevel.checkpoint()
        raise LookupError("x")

    with pytest.raises(LookupError):
        hosted(main)


def test_trio_has_its_deadlines_threads_and_descriptors_while_nothing_is_served():
    async def main(_):
        with trio.move_on_after(0.01) as scope:
            await trio.sleep_forever()
        reading, writing = os.pipe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.wait_readable, reading)
            await trio.to_thread.run_sync(os.write, writing, b"x")
        os.close(reading), os.close(writing)
        return scope.cancelled_caught

    assert hosted(main)


@pytest.mark.parametrize("spin", [0.0, 0.0001])
def test_requests_are_served_to_the_end_of_the_connection(device, spin):
    async def main(host):
        async with trio.open_nursery() as nursery:

            async def client():
                for number in range(100):
                    device.ask(bytes([number]))
                    while len(device.served) <= number:
                        await trio.lowlevel.checkpoint()
                device.end()

            nursery.start_soon(client)
            return await host.serve()

    assert hosted(main, device, spin=spin) is False
    assert b"".join(device.served) == bytes(range(100))


def test_a_request_from_elsewhere_wakes_a_host_that_sleeps(device):
    async def main(host):
        asked = threading.Thread(target=lambda: (device.ask(), device.end()))
        device.on_request = asked.join
        trio.lowlevel.current_trio_token().run_sync_soon(asked.start)
        return await host.serve()

    assert hosted(main, device) is False
    assert device.served == [b"x"]


def test_ready_is_said_while_the_device_is_waited_for(device):
    said = []

    def ready():
        said.append(len(device.served))
        device.ask(b"xxx")
        device.end()

    async def main(host):
        host.begin(device.reading, ready=ready, answers=SILENT)
        await host.serve()

    hosted(main)
    assert said == [0]
    assert device.served == [b"x"] * 3


class Answers:
    """Requests that want to know of their answers: every other one."""

    def __init__(self, device):
        self._device = device
        self.told = []

    @property
    def unanswered(self):
        return len(self._device.served) % 2 == 1

    def answered(self):
        self.told.append(len(self._device.served))


def test_the_next_wait_says_that_what_came_before_is_answered(device):
    answers = Answers(device)

    async def main(host):
        host.begin(device.reading, ready=lambda: None, answers=answers)
        device.ask(b"vwxyz")
        device.end()
        await host.serve()

    hosted(main, device)
    assert answers.told == [1, 3, 5]


def test_a_busy_device_lets_trio_have_a_turn_between_two_requests(device):
    device.ask(b"x" * 100)
    turns = []

    async def main(host):
        async with trio.open_nursery() as nursery:

            async def other():
                while True:
                    await trio.lowlevel.checkpoint()
                    turns.append(len(device.served))

            nursery.start_soon(other)
            device.on_request = lambda: len(device.served) == 100 and device.end()
            await host.serve()
            nursery.cancel_scope.cancel()

    hosted(main, device)
    assert {*range(1, 100)} <= {*turns}


def test_a_busy_device_can_be_left(device):
    device.ask()

    async def main(host):
        with trio.CancelScope() as scope:

            def next_one():
                device.ask()
                if len(device.served) == 10:
                    scope.cancel()

            device.on_request = next_one
            await host.serve()
        return scope.cancelled_caught

    assert hosted(main, device), "there always was another request"
    device.end()


def test_a_device_that_was_left_is_served_again_when_that_is_asked_for(device):
    async def main(host):
        with trio.move_on_after(0.01):
            await host.serve()
        device.ask()
        device.end()
        return await host.serve()

    assert hosted(main, device) is False
    assert device.served == [b"x"]


def test_a_request_that_comes_while_it_spins_is_taken_without_sleeping(device, monkeypatch):
    asked = 0

    def counted():
        nonlocal asked
        asked += 1
        if asked == 3:
            device.ask()
            device.end()
        return 0.0

    async def main(host):
        monkeypatch.setattr(loop.time, "perf_counter", counted)
        device.ask()
        return await host.serve()

    assert hosted(main, device, spin=5.0) is False
    assert asked >= 3
    assert device.served == [b"x", b"x"]


def test_a_host_that_has_spun_in_vain_sleeps_and_does_not_spin_after_a_turn_of_trio(device, monkeypatch):
    looks, real = [], select.poll

    class Poll:
        def __init__(self):
            self._poll = real()
            self.register, self.unregister = self._poll.register, self._poll.unregister

        def poll(self, milliseconds):
            looks.append(milliseconds)
            return self._poll.poll(milliseconds)

    monkeypatch.setattr(loop.select, "poll", Poll)

    async def main(host):
        async with trio.open_nursery() as nursery:

            async def turns():
                await trio.sleep(0.02)
                looks.clear()
                for _ in range(3):
                    await trio.sleep(0.001)
                assert looks.count(0) <= looks.count(None) + 6
                device.end()

            nursery.start_soon(turns)
            return await host.serve()

    assert hosted(main, device, spin=0.001) is False


class Session:
    """pyfuse3.main with one end per call."""

    def __init__(self, monkeypatch, ends):
        self.calls = 0
        self._ends = iter(ends)
        monkeypatch.setattr(pyfuse3, "main", self.main)

    async def main(self, *, min_tasks, max_tasks):
        assert (min_tasks, max_tasks) == (1, 1)
        self.calls += 1
        end = next(self._ends)
        if end:
            raise end


def vanished():
    return OSError(errno.EAGAIN, "read")


def test_a_connection_that_ended_is_served_no_more(monkeypatch):
    session = Session(monkeypatch, [None])
    assert hosted(Host.serve) is False
    assert session.calls == 1


def test_a_request_that_vanished_starts_the_loop_again(monkeypatch):
    session = Session(monkeypatch, [vanished(), vanished(), None])
    assert hosted(Host.serve) is False
    assert session.calls == 3


def test_an_fs_that_leaked_enough_asks_to_be_replaced(monkeypatch):
    session = Session(monkeypatch, [vanished() for _ in range(loop.MAX_RESTARTS)])
    assert hosted(Host.serve) is True
    assert session.calls == loop.MAX_RESTARTS


def test_another_error_of_the_device_is_not_hidden(monkeypatch):
    Session(monkeypatch, [OSError(errno.EIO, "read")])
    with pytest.raises(OSError, match="read") as caught:
        hosted(Host.serve)
    assert caught.value.errno == errno.EIO


def test_a_session_that_waits_for_anything_else_is_a_bug_that_is_said(monkeypatch):
    async def main(*, min_tasks, max_tasks):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(pyfuse3, "main", main)
    with pytest.raises(RuntimeError, match="waited for something"):
        hosted(Host.serve)


def test_pyfuse3_gets_the_scheduling_and_nothing_of_trio_that_it_does_not_use():
    wait = Host(0.0).wait
    loop.install(wait)
    assert pyfuse3._wait_fuse_readable == wait
    assert {*vars(pyfuse3.trio)} == {"open_nursery", "lowlevel"}
    assert {*vars(pyfuse3.trio.lowlevel)} == {"current_task", "current_trio_token"}
