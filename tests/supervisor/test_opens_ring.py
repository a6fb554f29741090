"""The ring of opens goes from one supervisor to the next; what is none of this version's is made anew."""

import os

import pytest

from secretfs.link import ring
from secretfs.linux import memory
from secretfs.supervisor.ring import OpensRing


@pytest.fixture
def made():
    found = OpensRing.made()
    yield found
    for fd in found.fds:
        os.close(fd)


def test_two_rings_are_told_apart(made):
    other = OpensRing.made()
    heads = [os.pread(fd, 8 + ring.ID_BYTES, 0) for fd in (made.fd, other.fd)]
    assert heads[0][:8] == heads[1][:8] == b"SFOPENS1"
    assert heads[0] != heads[1]
    for fd in other.fds:
        os.close(fd)


def test_a_ring_is_adopted_as_it_is(made):
    assert OpensRing.adopted(made.fds) == made


@pytest.mark.parametrize("size", [4096, ring.RING_BYTES])
def test_memory_that_is_no_ring_is_closed(size):
    fd = memory.memfd("other", size)
    event = os.eventfd(0)
    assert OpensRing.adopted([fd, event]) is None
    for closed in (fd, event):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(closed)


def test_an_older_fs_gives_none():
    assert OpensRing.adopted([]) is None
