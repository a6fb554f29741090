"""``swarm`` and ``key``, against the real API; what a rotation tells of itself while it takes its time."""

from pathlib import Path

import pytest
from command_line import play
from fake_daemon import FakeDaemon
from real_daemon import real_daemon

from secretfs.cli import key

TRANSCRIPTS = Path(__file__).parent / "transcripts" / "real"
STEPS = [{"Running": True, "Done": done, "Total": 3000, "Failure": ""} for done in (200, 1400)]


@pytest.mark.parametrize("noun", ["swarm", "key"])
def test_locks_and_keys_print_what_the_transcript_says(noun: str, tmp_path: Path) -> None:
    with real_daemon(tmp_path) as daemon:
        play(TRANSCRIPTS / f"{noun}.txt", daemon.host, daemon.attach, tmp_path)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the rotation is told of."""
    monkeypatch.setattr(key, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(key, "POLL_SECONDS", 0.0)


def test_a_rotation_that_takes_its_time_tells_how_far_it_is(hasty, daemon: FakeDaemon, secretfs) -> None:
    daemon.rotation = [*STEPS, {"Running": False, "Done": 3000, "Total": 3000, "Failure": ""}]
    ended = secretfs("key", "rotate")
    assert (ended.out, ended.code) == ("0123456789abcdef\n", 0)
    assert ended.err == "secretfs: rewrapped 200 of 3000\nsecretfs: rewrapped 1400 of 3000\n"


def test_a_rotation_that_keeps_the_old_key_says_why(hasty, daemon: FakeDaemon, secretfs) -> None:
    daemon.rotation = [{"Running": False, "Done": 3000, "Total": 3000, "Failure": "1 damaged record"}]
    ended = secretfs("key", "rotate")
    assert (ended.both, ended.code) == ("secretfs: error: 1 damaged record\n", 1)


def test_a_daemon_that_ends_in_the_middle_is_an_error_in_the_end(hasty, monkeypatch, daemon: FakeDaemon, secretfs):
    monkeypatch.setattr(key, "AWAY_SECONDS", 0.0)
    daemon.rotation = STEPS
    ended = secretfs("key", "rotate")
    assert ended.err.splitlines()[-1] == "secretfs: error: the rotation is over"
    assert ended.code == 1
