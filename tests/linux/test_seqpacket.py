import contextlib
import os
import resource
import socket

import pytest

from secretfs.linux import seqpacket
from secretfs.linux.packets import next_packet


@pytest.fixture
def ends():
    one, other = seqpacket.pair()
    with one, other:
        yield one, other


def test_a_packet_arrives_whole_and_alone(ends):
    one, other = ends
    seqpacket.send(one, b"first")
    seqpacket.send(one, b"second")
    assert [seqpacket.receive(other, 100), seqpacket.receive(other, 100)] == [(b"first", []), (b"second", [])]


def test_descriptors_arrive_with_their_packet_and_do_not_outlive_an_exec(ends, tmp_path):
    one, other = ends
    sent = os.open(tmp_path, os.O_PATH)
    seqpacket.send(one, b"here", [sent, sent])
    packet, fds = seqpacket.receive(other, 100, 2)
    assert (packet, len(fds)) == (b"here", 2)
    assert [os.get_inheritable(fd) for fd in fds] == [False, False]
    assert os.path.sameopenfile(sent, fds[0])
    for fd in (sent, *fds):
        os.close(fd)


def test_descriptors_that_nobody_asked_for_are_closed(ends, tmp_path):
    one, other = ends
    before = len(os.listdir("/proc/self/fd"))
    sent = os.open(tmp_path, os.O_PATH)
    seqpacket.send(one, b"here", [sent])
    os.close(sent)
    assert seqpacket.receive(other, 100) == (b"here", [])
    assert len(os.listdir("/proc/self/fd")) == before


@contextlib.contextmanager
def little_room():
    """Places for three more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_packet_whose_descriptors_find_no_place_is_lost_and_leaves_none_open(ends):
    one, other = ends
    seqpacket.send(one, b"here", [0] * 10)
    seqpacket.send(one, b"there", [0])
    before = len(os.listdir("/proc/self/fd"))
    with little_room(), pytest.raises(OSError, match="Too many open files"):
        seqpacket.receive(other, 100, 10)
    assert len(os.listdir("/proc/self/fd")) == before
    packet, [fd] = seqpacket.receive(other, 100, 10)
    os.close(fd)
    assert packet == b"there"


async def test_an_answer_that_lost_its_descriptors_is_none(ends):
    one, other = ends
    seqpacket.send(one, b"here", [0] * 10)
    seqpacket.send(one, b"there")
    with little_room():
        assert await next_packet(other, 100, 10) == (b"there", [])


async def test_the_end_of_the_peer_is_the_end_of_file(ends):
    one, other = ends
    one.close()
    assert await next_packet(other, 100, 10) is None


def test_a_packet_that_is_too_long_comes_back_cut(ends):
    one, other = ends
    seqpacket.send(one, b"0123456789")
    assert seqpacket.receive(other, 4) == (b"0123", [])


def test_nothing_blocks(ends):
    one, other = ends
    with pytest.raises(BlockingIOError):
        seqpacket.receive(other, 100)

    def fill():
        while True:
            seqpacket.send(one, bytes(1000))

    with pytest.raises(BlockingIOError):
        fill()


def test_an_end_that_is_gone_is_end_of_file_or_an_error(ends):
    one, other = ends
    other.close()
    with pytest.raises(BrokenPipeError):
        seqpacket.send(one, b"x")
    assert seqpacket.receive(one, 100) == (b"", [])


def test_an_end_that_was_left_behind_is_adopted(ends):
    one, other = ends
    fd = other.detach()
    os.set_inheritable(fd, True)
    os.set_blocking(fd, True)
    with seqpacket.adopt(fd) as adopted:
        seqpacket.send(one, b"hello")
        assert seqpacket.receive(adopted, 100) == (b"hello", [])
        assert (adopted.family, adopted.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET)
        assert (os.get_inheritable(fd), os.get_blocking(fd)) == (False, False)
