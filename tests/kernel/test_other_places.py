"""A start with other places than what lives was started with: refused before anything is ended, with what to do."""

import pytest
from daemons import alive

pytestmark = pytest.mark.kernel

VALUE = b"This is a secret"


@pytest.fixture
def reading(daemon):
    """A task that reads."""
    daemon.secret("db", VALUE)
    return daemon.task("--secret", "db")


def refusal(daemon, *options: str) -> str:
    """What a start beside the daemon, or after it, says."""
    before, daemon.lines[:] = daemon._process, []
    daemon.spawn(*options)
    assert daemon.ended() == 1
    daemon.read_to_end()
    daemon._process = before
    [error] = [line for line in daemon.lines if line.startswith("secretfs: error: ")]
    return error.removeprefix("secretfs: error: ").strip()


def test_a_takeover_with_another_store_ends_nobody(daemon, reading, tmp_path):
    other = str(tmp_path / "other")
    pids = daemon.pids()
    assert refusal(daemon, "--takeover", "--state-dir", other) == (
        f"the daemon that runs serves the store in '{daemon.state}', not in '{other}': start with --state-dir "
        f"{daemon.state}, or stop it first"
    )
    assert all(map(alive, pids))
    assert reading.cat("db") == VALUE
    assert not (tmp_path / "other").exists()


def test_a_takeover_with_another_mountpoint_ends_nobody(daemon, reading, tmp_path):
    other = str(tmp_path / "other")
    pids = daemon.pids()
    assert refusal(daemon, "--takeover", "--mountpoint", other) == (
        f"the daemon that runs is mounted on '{daemon.mountpoint}', not on '{other}': start with --mountpoint "
        f"{daemon.mountpoint}, or stop it first"
    )
    assert all(map(alive, pids))
    assert reading.cat("db") == VALUE


def test_an_fs_without_a_supervisor_is_not_given_to_another_store(daemon, reading, tmp_path):
    other = str(tmp_path / "other")
    fs = daemon.fs_pid()
    daemon.kill("supervisor")
    assert refusal(daemon, "--state-dir", other) == (
        f"fs (pid {fs}) of the last daemon serves the store in '{daemon.state}', not in '{other}': start with "
        f"--state-dir {daemon.state}, or stop it first"
    )
    assert reading.cat("db") == VALUE
    assert not (tmp_path / "other").exists()
    daemon.start()
    assert reading.cat("db") == VALUE
    assert daemon.living_fs() == [fs] or daemon.fs_pid() == fs


def test_the_same_places_by_another_name_are_the_same(daemon, reading, tmp_path):
    (tmp_path / "state by link").symlink_to(daemon.state)
    (tmp_path / "mnt by link").symlink_to(daemon.mountpoint)
    options = ("--state-dir", str(tmp_path / "state by link"), "--mountpoint", str(tmp_path / "mnt by link"))
    daemon.take_over(*options)
    assert reading.cat("db") == VALUE


def test_after_an_end_in_order_any_store_may_follow(daemon, tmp_path):
    assert daemon.end() == 0
    daemon.start("--state-dir", str(tmp_path / "other"), "--root-key", f"file:{tmp_path}/other.key")
    daemon.take_over("--state-dir", str(tmp_path / "other"), "--root-key", f"file:{tmp_path}/other.key")
    assert daemon.out("secret", "ls", "-q") == ""
