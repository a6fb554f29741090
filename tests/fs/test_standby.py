"""When a standby serves, and when it never does."""

import contextlib
import os
import subprocess

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.fs.standby import called
from secretfs.link import codec, pulse, serving
from secretfs.linux import seqpacket

USABLE = 8192


@contextlib.asynccontextmanager
async def standby():
    """A standby, the supervisor's end of its socket, and a list for what it decides."""
    ours, theirs = seqpacket.pair()
    decided = []

    async def wait():
        decided.append(await called(theirs))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            assert heard(ours) == serving.Loaded()
            yield ours, decided
    ours.close()
    theirs.close()


@pytest.fixture
def before():
    """The fs that serves, as a process that can be killed, and its pidfd."""
    process = subprocess.Popen(["sleep", "1000"])
    pidfd = os.pidfd_open(process.pid)
    yield process, pidfd
    process.kill()
    process.wait()
    os.close(pidfd)


def heard(end):
    return codec.decode(end.recv(codec.MAX_FRAME_BYTES))


def say(end, frame, fds=()):
    seqpacket.send(end, codec.encode(frame), fds)


async def test_it_serves_at_once_when_there_is_nobody_before_it():
    async with standby() as (end, decided):
        say(end, serving.Go(USABLE))
    assert decided == [USABLE]


async def test_it_answers_the_heartbeat_while_it_waits():
    async with standby() as (end, _):
        say(end, pulse.Ping(7))
        await wait_all_tasks_blocked()
        assert heard(end) == pulse.Pong(7)
        say(end, pulse.Stop())


@pytest.mark.parametrize("frame", [pulse.Stop(), pulse.Ready(), None])
async def test_it_never_serves_when_it_is_told_so_or_nobody_tells_it(frame):
    async with standby() as (end, decided):
        if frame:
            say(end, frame)
        else:
            end.close()
    assert decided == [None]


async def test_it_waits_for_the_end_of_the_one_before(before):
    process, pidfd = before
    async with standby() as (end, decided):
        say(end, serving.Go(USABLE), [pidfd])
        say(end, pulse.Ping(1))
        await wait_all_tasks_blocked()
        assert decided == []
        assert heard(end) == pulse.Pong(1)
        process.kill()
    assert decided == [USABLE]


async def test_it_takes_the_word_of_the_supervisor_for_the_end_of_the_one_before(before):
    """Of one that has a thread in state D the kernel does not say so until its successor serves."""
    async with standby() as (end, decided):
        say(end, serving.Go(USABLE), [before[1]])
        await wait_all_tasks_blocked()
        say(end, serving.Go(USABLE))
    assert decided == [USABLE]


async def test_without_a_supervisor_it_serves_when_the_one_before_ends_soon(before):
    process, pidfd = before
    async with standby() as (end, decided):
        say(end, serving.Go(USABLE), [pidfd])
        end.close()
        await wait_all_tasks_blocked()
        process.kill()
    assert decided == [USABLE]


async def test_without_a_supervisor_it_leaves_the_one_before_alone_if_that_lives_on(before, autojump_clock):
    async with standby() as (end, decided):
        say(end, serving.Go(USABLE), [before[1]])
        end.close()
    assert decided == [None]
