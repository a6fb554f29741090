"""Ending the daemon that holds a lock, and nobody else."""

import os
import signal
import subprocess
import sys

import pytest

from secretfs.errors import SetupError
from secretfs.supervisor import setup, takeover

HOLDER = """
import os, signal, sys
from secretfs.supervisor import setup
setup.locked(sys.argv[1])
print("locked", flush=True)
signal.pause()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has the lock of tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("stopped", [False, True])
def test_the_holder_is_ended_and_the_lock_free(tmp_path, holder, stopped):
    if stopped:
        holder.send_signal(signal.SIGSTOP)
    takeover.end_holder(str(tmp_path), lambda: None)
    assert holder.wait(5) == -signal.SIGKILL
    os.close(setup.locked(str(tmp_path)))


def test_what_is_to_be_done_first_may_refuse_and_the_holder_lives(tmp_path, holder):
    def first():
        raise SetupError("no")

    with pytest.raises(SetupError, match="no"):
        takeover.end_holder(str(tmp_path), first)
    assert holder.poll() is None


def test_where_nobody_holds_it_nobody_is_ended(tmp_path):
    takeover.end_holder(str(tmp_path), pytest.fail)
    (tmp_path / "daemon.lock").write_text(f"{os.getpid()}\n")
    takeover.end_holder(str(tmp_path), lambda: None)


@pytest.mark.parametrize("said", ["", "garbage", "0", "1", "999999999999999999999999"])
def test_who_only_stands_in_the_file_is_left_alone(tmp_path, holder, said):
    (tmp_path / "daemon.lock").write_text(said)
    with pytest.raises(SetupError, match="cannot be told from others: stop it"):
        takeover.end_holder(str(tmp_path), lambda: None)
    assert holder.poll() is None


def test_a_process_that_has_the_file_open_and_not_the_lock_is_left_alone(tmp_path, holder):
    with (
        open(tmp_path / "daemon.lock") as file,
        subprocess.Popen(["sleep", "1000"], stdin=file) as other,
    ):
        (tmp_path / "daemon.lock").write_text(f"{other.pid}\n")
        try:
            with pytest.raises(SetupError, match="cannot be told"):
                takeover.end_holder(str(tmp_path), lambda: None)
            assert other.poll() is None
        finally:
            other.kill()


def test_one_that_does_not_end_is_said(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(takeover, "died", lambda *_: False)
    with pytest.raises(SetupError, match=rf"\(pid {holder.pid}\) does not end"):
        takeover.end_holder(str(tmp_path), lambda: None)


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "daemon.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="cannot be locked"):
        takeover.end_holder(str(tmp_path), lambda: None)
