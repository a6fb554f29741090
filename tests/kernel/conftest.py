"""Real daemons for the tests of this directory. Nothing stays mounted or running, however a test ends."""

import mmap

import pytest
from daemons import Daemon


@pytest.fixture
def idle_daemon(tmp_path):
    """A daemon that is not started yet."""
    daemon = Daemon(tmp_path)
    try:
        yield daemon
    finally:
        daemon.clean_up()


@pytest.fixture
def daemon(idle_daemon):
    """A daemon that serves."""
    return idle_daemon.start()


@pytest.fixture
def faults(tmp_path):
    """The file of faults.py, and its bytes."""
    path = tmp_path / "faults"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), mmap.PAGESIZE) as memory:
        yield path, memory


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory):
    """A daemon for the tests of a module that do no harm to it."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon"))
    try:
        yield daemon.start()
    finally:
        daemon.clean_up()
