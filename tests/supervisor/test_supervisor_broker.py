"""Those who ask the broker do not stand in each other's way. The helpers are real processes that wait for a word."""

import errno
import fcntl
import os
import re
import resource
import select
import socket
import subprocess
import sys

import pytest

from secretfs.link import brokering, codec
from secretfs.linux import seqpacket
from secretfs.supervisor import broker as broker_module
from secretfs.supervisor import members
from secretfs.supervisor.broker import Broker

TASK = "1" * 25
ANSWER_SECONDS = 20
MOUNTS = "mount -t tmpfs t /mnt && cd /mnt && mkdir -p $0/secrets && mount -B $0/secrets $0/secrets && echo && exec cat"


class AnyDevice(set):
    """A tmpfs has another one each time."""

    def __contains__(self, device: object) -> bool:
        return True


class Asking:
    """A broker, and control's end of the socket to it."""

    def __init__(self, fifo: int) -> None:
        self.broker = Broker("/nowhere", os.stat, AnyDevice)
        self._fifo = fifo
        self._ours, self.theirs = seqpacket.pair()

    def ask(self, frame, *fds: int) -> None:
        """What control would say; descriptors are copies."""
        assert self.broker.serve(self.theirs, frame, [os.dup(fd) for fd in fds])

    def answer(self):
        assert select.select([self._ours], [], [], ANSWER_SECONDS)[0], "no answer"
        return codec.decode(self._ours.recv(codec.MAX_FRAME_BYTES))

    def let_go(self, helpers: int) -> None:
        os.write(self._fifo, b"x\n" * helpers)

    def end(self) -> None:
        self._ours.close()
        self.theirs.close()


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
    detached = [brokering.AskDropMounts(number, TASK) for number in range(1, 12)]
    for ask in (*detached, brokering.AskRepair(12)):
        asking.ask(ask)
    asking.ask(brokering.AskTreeFd(13, 9, TASK))
    assert asking.answer() == brokering.TreeFd(13, errno.EINVAL)
    assert not asking.broker.idle
    asking.let_go(12)
    done = [asking.answer() for _ in range(12)]
    assert done == [*(brokering.MountsDropped(ask.ask, 0, 0) for ask in detached), brokering.Repaired(12, 0, 0)]


@pytest.fixture
def member(monkeypatch):
    """A pidfd of a process of the task."""
    monkeypatch.setattr(members, "_TREE", re.compile(members._TREE.pattern.replace(rb"fuse\.secretfs", b"tmpfs")))
    command = ["unshare", "--mount", "sh", "-c", MOUNTS, TASK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"\n"
        pidfd = os.pidfd_open(process.pid)
        yield pidfd
        os.close(pidfd)
        process.stdin.close()


def test_more_commands_than_have_their_turn_in_time_are_refused_for_now(asking, member, monkeypatch):
    monkeypatch.setattr(broker_module, "_MAX_COMMANDS", 10)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 12):
        asking.ask(brokering.AskCommand(number, 0, TASK, "web\0db\0true"), member)
    assert asking.answer() == brokering.Acted(11, errno.EAGAIN, 0)
    assert len(os.listdir("/proc/self/fd")) > before
    asking.let_go(10)
    assert {asking.answer() for _ in range(10)} == {brokering.Acted(number, 0, 0) for number in range(1, 11)}
    asking.ask(brokering.AskCommand(12, 0, TASK, "web\0db\0true"), member)
    asking.let_go(1)
    assert asking.answer() == brokering.Acted(12, 0, 0)


def test_an_answer_arrives_by_a_descriptor_that_select_does_not_know(asking):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    high = socket.socket(fileno=fcntl.fcntl(asking.theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 1024))
    with high:
        high.setblocking(False)
        assert asking.broker.serve(high, brokering.AskTreeFd(1, 9, TASK), [])
        assert asking.answer() == brokering.TreeFd(1, errno.EINVAL)
