"""SIGHUP: what is tried first, and what comes of it."""

import os
import signal
import stat
import sys

import pytest

from secretfs.errors import SetupError
from secretfs.link.spawn import SupervisorStart
from secretfs.supervisor import upgrade
from secretfs.supervisor.upgrade import Upgrade

START = SupervisorStart("/state", "/run", "/mnt", "file:/key", 1 << 20, 50)


@pytest.fixture
def becomes(monkeypatch):
    """What the supervisor would have become, and with which signals held back; instead of that, exec is refused."""
    seen = []

    def execv(path, words):
        seen.append((path, words, signal.pthread_sigmask(signal.SIG_BLOCK, [])))
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(upgrade.os, "execv", execv)
    return seen


@pytest.fixture
def python(monkeypatch, tmp_path):
    """What stands in the interpreter's place, as a shell script."""

    def replace(script: str) -> None:
        (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "python").chmod(stat.S_IRWXU)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    return replace


def tended(made: Upgrade) -> None:
    """Until the rehearsal is over."""
    made.tend(idle=True)
    while made._trial:
        os.sched_yield()
        made.tend(idle=True)
    made.tend(idle=True)


def test_nothing_happens_unasked(becomes):
    tended(Upgrade(START))
    assert not becomes


def test_the_installed_version_is_tried_and_then_become_with_signals_held_back(becomes):
    made = Upgrade(START)
    made.want()
    tended(made)
    ((path, words, held),) = becomes
    assert path == sys.executable
    assert words[:4] == [sys.executable, "-P", "-m", "secretfs.supervisor"]
    again = SupervisorStart.parse(words[4:])
    assert (again.state_dir, again.takeover) == ("/state", 1)
    assert {signal.SIGHUP, signal.SIGTERM, signal.SIGINT} <= held
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, []), "exec was refused: this version goes on"
    tended(made)
    assert len(becomes) == 1, "once per wish"


def test_a_stop_that_comes_at_the_last_moment_is_not_forgotten(becomes, monkeypatch):
    made = Upgrade(START)
    before = signal.signal(signal.SIGTERM, lambda *_: made.end())
    monkeypatch.setattr(upgrade.log, "info", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        made.want()
        tended(made)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not becomes
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_nothing_is_become_while_a_thread_may_wait_for_fs(becomes):
    made = Upgrade(START)
    made.want()
    made.tend(idle=False)
    while made._trial:
        made.tend(idle=False)
    made.tend(idle=False)
    assert not becomes
    made.tend(idle=True)
    assert len(becomes) == 1


def test_a_check_says_whether_what_is_installed_starts(python, capfd):
    upgrade.check(START)
    python("exit 5")
    with pytest.raises(SetupError) as refusal:
        upgrade.check(START)
    assert str(refusal.value) == "what is installed does not start (code 5): the daemon that runs goes on"


def test_a_check_that_hangs_is_given_up(python, monkeypatch):
    monkeypatch.setattr(upgrade, "REHEARSAL_SECONDS", 0.1)
    python("exec sleep 1000")
    with pytest.raises(SetupError, match="code -9"):
        upgrade.check(START)


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$"])
def test_what_does_not_start_is_not_become(becomes, python, script, capfd):
    python(script)
    made = Upgrade(START)
    for _ in range(2):
        made.want()
        tended(made)
    assert not becomes
    assert capfd.readouterr().err.count("what is installed does not start") == 2


def test_what_hangs_is_given_up(becomes, python, monkeypatch):
    monkeypatch.setattr(upgrade, "REHEARSAL_SECONDS", 0.1)
    python("sleep 1000")
    made = Upgrade(START)
    made.want()
    tended(made)
    assert not becomes


def test_without_an_interpreter_this_version_goes_on(becomes, monkeypatch, capfd):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    made = Upgrade(START)
    made.want()
    tended(made)
    assert not becomes
    assert "upgrade refused" in capfd.readouterr().err


def test_a_wish_while_one_is_tried_is_kept(becomes):
    made = Upgrade(START)
    made.want()
    made.tend(idle=True)
    made.want()
    tended(made)
    tended(made)
    assert len(becomes) == 2
