"""Those who ask the broker do not stand in each other's way. The helpers are real processes that wait for a word."""

import os
import select
import sys

import pytest

from secretfs.link import frames
from secretfs.linux import seqpacket
from secretfs.supervisor.broker import Broker

TASK = "1" * 25
ANSWER_SECONDS = 20


class Asking:
    """A broker, and control's end of the socket to it."""

    def __init__(self, fifo: int) -> None:
        self.broker = Broker("/nowhere", os.stat, set)
        self._fifo = fifo
        self._ours, self._theirs = seqpacket.pair()

    def ask(self, frame, *fds: int) -> None:
        """What control would say; descriptors are copies."""
        assert self.broker.serve(self._theirs, frame, [os.dup(fd) for fd in fds])

    def answer(self):
        assert select.select([self._ours], [], [], ANSWER_SECONDS)[0], "no answer"
        return frames.decode(self._ours.recv(frames.MAX_FRAME_BYTES))

    def let_go(self, helpers: int) -> None:
        os.write(self._fifo, b"x\n" * helpers)

    def end(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def asking(monkeypatch, tmp_path):
    """Helpers of the broker wait until they are let go."""
    fifo, helper = tmp_path / "fifo", tmp_path / "python"
    os.mkfifo(fifo)
    helper.write_text(f"#!/bin/sh\nread word <{fifo}\necho 0 0\n")
    helper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(helper))
    fd = os.open(fifo, os.O_RDWR)
    made = Asking(fd)
    yield made
    made.end()
    os.close(fd)


def test_mounts_that_are_dropped_one_after_the_other_hold_nobody_up(asking):
    detached = [frames.AskDropMounts(number, TASK) for number in range(1, 12)]
    for ask in (*detached, frames.AskRepair(12)):
        asking.ask(ask)
    asking.ask(frames.AskTreeFd(13, 9, TASK))
    assert asking.answer() == frames.TreeFd(13, 22)
    assert not asking.broker.idle
    asking.let_go(12)
    done = [asking.answer() for _ in range(12)]
    assert done == [*(frames.MountsDropped(ask.ask, 0, 0) for ask in detached), frames.Repaired(12, 0, 0)]
