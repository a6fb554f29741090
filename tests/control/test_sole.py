"""The lock on the store: waited for, taken from one that does not end, and never held by two."""

import os
import signal
import subprocess
import sys

import pytest
import trio

from secretfs.control import sole as module
from secretfs.control.sole import sole
from secretfs.errors import StoreError

HOLDER = """
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.lockf(fd, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
if sys.argv[2] == "stays":
    signal.pause()
"""


@pytest.fixture
def holder(tmp_path):
    """Start another process that has the lock."""
    made = []

    def start(manner: str = "ends"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), manner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        made.append(process)
        assert process.stdout.readline() == b"locked\n"
        return process

    yield start
    for process in made:
        with process:
            process.kill()


async def test_a_free_lock_is_taken_at_once_and_not_inherited(tmp_path):
    fd = await sole(tmp_path / "lock")
    assert not os.get_inheritable(fd)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    os.close(fd)


async def test_it_waits_for_the_end_of_the_holder(tmp_path, holder):
    process = holder()
    got = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def take():
                got.append(await sole(tmp_path / "lock"))

            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            assert not got
            process.stdin.close()
    assert process.wait(5) == 0
    os.close(got[0])


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_holder_that_does_not_end_is_ended(tmp_path, holder, monkeypatch, stopped):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    process = holder("stays")
    if stopped:
        process.send_signal(signal.SIGSTOP)
    with trio.fail_after(20):
        os.close(await sole(tmp_path / "lock"))
    assert process.wait(5) == -signal.SIGKILL


async def test_many_get_it_one_after_the_other(tmp_path, holder):
    for _ in range(3):
        process = holder()
        process.kill()
        os.close(await sole(tmp_path / "lock"))


async def test_a_holder_that_cannot_be_seen_is_an_error(tmp_path, holder, monkeypatch):
    holder()
    real = module._FLOCK.unpack
    monkeypatch.setattr(
        module, "_FLOCK", type("S", (), {"pack": module._FLOCK.pack, "unpack": lambda _, raw: (*real(raw)[:4], 0)})()
    )
    with pytest.raises(StoreError, match="cannot be seen from here"):
        await sole(tmp_path / "lock")
