"""When there is a standby, when it gets its word, and when the connection is made anew."""

import errno
import os
import select
import signal
from types import SimpleNamespace

import pytest

from secretfs.link import serving
from secretfs.link.hand import Hand
from secretfs.supervisor import succession
from secretfs.supervisor.deaths import IN_A_ROW
from secretfs.supervisor.succession import Succession
from secretfs.supervisor.watch import Watch

USABLE = 8192


class Connection:
    """Stands for the mount: how often it was asked to send again, and whether it was ended."""

    mountpoint = "/mnt"

    def __init__(self):
        self.ended = False
        self.asked = 0
        self.refusal = None

    def resend(self):
        self.asked += 1
        if self.refusal:
            raise self.refusal

    def end(self):
        self.ended = True


@pytest.fixture
def world(started, monkeypatch):
    """A succession whose standbys are small programs, the time it sees, and what it holds."""
    made = SimpleNamespace(now=1000.0, started=[], hand=Hand(), program="answers")
    made.first = Connection()
    arena = SimpleNamespace(usable=USABLE, hand=lambda: made.hand, empty=lambda: None)
    made.held = SimpleNamespace(fs=None, connection=made.first, arena=arena)
    made.held.mount_anew = lambda _: setattr(made.held, "connection", Connection())
    made.watch = Watch(besides=os.getpid())
    monkeypatch.setattr(succession, "time", SimpleNamespace(monotonic=lambda: made.now))

    def start():
        child = started(made.program)
        made.watch.listen_to(child, lambda _: None)
        made.started.append(child)
        return child

    made.succession = Succession(made.held, made.watch, start)
    made.succession.serves()
    return made


def die(world, *, killed=True):
    return world.succession.successor(killed=killed)


def test_there_is_a_standby_when_all_is_calm_and_one_at_a_time(world):
    world.succession.tend(calm=False)
    assert world.started == []
    for _ in range(3):
        world.succession.tend(calm=True)
    assert len(world.started) == 1


def test_it_takes_the_place_of_the_dead_one_and_another_one_follows(world):
    world.succession.tend(calm=True)
    assert die(world) is world.started[0]
    assert world.first.asked == 1
    assert die(world) is None, "there is none yet: one has to be started"
    world.succession.tend(calm=True)
    assert len(world.started) == 2


def test_one_that_is_dead_takes_nobodys_place(world):
    world.succession.tend(calm=True)
    os.kill(world.started[0].pid, signal.SIGKILL)
    assert select.select([world.started[0].pidfd], [], [], 10)[0]
    assert die(world) is None


def test_one_that_dies_again_and_again_is_started_later_and_later(world):
    world.program = "exits"
    waited = []
    for _ in range(6):
        began = world.now
        while len(world.started) == len(waited):
            world.succession.tend(calm=True)
            world.now += 0.1
        waited.append(world.now - began)
        assert select.select([world.started[-1].pidfd], [], [], 10)[0]
        world.succession.tend(calm=True)
    assert waited == sorted(waited)
    assert waited[-1] > 3


def test_a_kernel_that_sends_nothing_again_gets_another_mount_and_the_standby_is_useless(world):
    world.first.refusal = OSError(errno.EINVAL, "")
    world.succession.tend(calm=True)
    assert die(world) is None
    assert world.first.ended
    assert world.held.connection is not world.first
    assert world.started[0].wait(10)


def test_another_refusal_of_the_device_is_not_hidden(world):
    world.first.refusal = OSError(errno.EIO, "")
    with pytest.raises(OSError, match="Errno 5"):
        die(world)


@pytest.mark.parametrize("taken", [1, 0])
def test_what_each_fs_dies_of_ends_the_connection(world, taken):
    world.hand = Hand(1000, 5, 6, "open")
    for _ in range(IN_A_ROW):
        assert not world.first.ended
        world.succession.serves()
        die(world, killed=bool(taken))
        world.hand = Hand(world.hand.number + taken, 5, 6, "open")
    assert world.first.ended


def test_a_word_to_the_standby_names_the_memory_that_it_may_use(world):
    world.succession.tend(calm=True)
    said = []
    world.started[0].send = lambda frame, fds=(): said.append((frame, list(fds)))
    die(world)
    assert said == [(serving.Go(USABLE), [])]
