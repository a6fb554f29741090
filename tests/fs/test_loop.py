"""How the device is waited for, with a pipe in its place."""

import errno
import os

import pyfuse3
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.fs import loop
from secretfs.fs.loop import Readiness


@pytest.fixture
def pipe():
    reading, writing = os.pipe2(os.O_NONBLOCK)
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


def readiness(*, spin=0.0, ready=lambda: None):
    return Readiness(spin, ready=ready, answered=lambda: None)


async def test_a_device_with_a_request_is_not_waited_for(pipe):
    os.write(pipe[1], b"x")
    waiting = readiness().wait(pipe[0])
    with pytest.raises(StopIteration):
        waiting.send(None)


@pytest.mark.parametrize("spin", [0.0, 0.0001])
async def test_a_device_without_a_request_is_parked_on(pipe, spin, autojump_clock):
    device = readiness(spin=spin)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.wait, pipe[0])
        await wait_all_tasks_blocked()
        os.write(pipe[1], b"x")


async def test_ready_is_said_once(pipe):
    os.write(pipe[1], b"x")
    said = []
    device = readiness(ready=lambda: said.append("ready"))
    for _ in range(3):
        await device.wait(pipe[0])
    assert said == ["ready"]


async def test_a_busy_device_lets_other_tasks_have_their_turn(pipe):
    os.write(pipe[1], b"x")
    device, turns = readiness(), 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(loop._FAIR_SHARE * 5):
            await device.wait(pipe[0])
        nursery.cancel_scope.cancel()
    assert 4 <= turns <= 7


async def test_a_busy_device_can_be_left(pipe):
    os.write(pipe[1], b"x")
    device = readiness()
    with trio.fail_after(2), trio.CancelScope() as scope:
        scope.cancel()
        while True:
            await device.wait(pipe[0])
    assert scope.cancelled_caught


async def test_a_request_that_comes_while_it_spins_is_taken_without_parking(pipe, monkeypatch):
    device = readiness(spin=5.0)
    asked = 0

    def counted():
        nonlocal asked
        asked += 1
        if asked == 3:
            os.write(pipe[1], b"x")
        return 0.0

    monkeypatch.setattr(loop.time, "perf_counter", counted)
    with pytest.raises(StopIteration):
        device.wait(pipe[0]).send(None)


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
        await trio.lowlevel.checkpoint()
        if end:
            raise end


def vanished():
    return ExceptionGroup("worker", [OSError(errno.EAGAIN, "read")])


async def test_a_connection_that_ended_is_served_no_more(monkeypatch):
    session = Session(monkeypatch, [None])
    assert await loop.serve() is False
    assert session.calls == 1


async def test_a_request_that_vanished_starts_the_loop_again(monkeypatch):
    session = Session(monkeypatch, [vanished(), OSError(errno.EAGAIN, "read"), None])
    assert await loop.serve() is False
    assert session.calls == 3


async def test_an_fs_that_leaked_enough_asks_to_be_replaced(monkeypatch):
    session = Session(monkeypatch, [vanished() for _ in range(loop.MAX_RESTARTS)])
    assert await loop.serve() is True
    assert session.calls == loop.MAX_RESTARTS


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "read"), ExceptionGroup("", [OSError(errno.EAGAIN, ""), OSError(errno.EIO, "")])]
)
async def test_another_error_of_the_device_is_not_hidden(monkeypatch, error):
    Session(monkeypatch, [error])
    with pytest.raises(ExceptionGroup):
        await loop.serve()


def test_pyfuse3_gets_the_scheduling_and_nothing_of_trio_that_it_does_not_use(monkeypatch):
    monkeypatch.setattr(pyfuse3, "trio", trio)
    device = readiness()
    loop.install(device)
    assert pyfuse3.trio.lowlevel.wait_readable == device.wait
    assert pyfuse3.trio.open_nursery is trio.open_nursery


async def test_the_lock_of_the_one_worker_never_waits():
    lock = loop._FreeLock()
    with pytest.raises(StopIteration):
        lock.__aenter__().send(None)
