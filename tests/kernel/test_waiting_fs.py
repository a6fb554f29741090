"""An fs that is loaded waits for the end of the one that serves: a death costs a reader some milliseconds."""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from daemons import alive
from installations import Installation
from unnoticed import STEADY, nothing_was_noticed, prepared

from secretfs.linux import process

pytestmark = pytest.mark.kernel

KILLS = 10
DEVICE_CALLS = re.compile(r"\b(read|readv|writev?|splice|pread64)\((\d+)")


def loaded(daemon) -> int:
    """Wait for the next standby; its pid."""
    return daemon.wait_for("standby loaded")["pid"]


def test_a_standby_takes_the_place_of_an_fs_that_dies_and_another_one_follows(daemon, capsys):
    readers = prepared(daemon)
    for _ in range(5):
        standby = loaded(daemon)
        assert daemon.standby() == standby
        daemon.kill("fs")
        assert daemon.wait_for("child ready", module="secretfs.fs")["pid"] == standby
    nothing_was_noticed(readers, capsys)


def test_a_death_costs_a_reader_some_milliseconds(daemon, capsys):
    daemon.secret("steady", STEADY)
    task = daemon.task("--secret", "steady")
    medians = {}
    for names in (("fs",), ("fs", "standby")):
        seconds = []
        for _ in range(KILLS):
            loaded(daemon)
            daemon.kill(*names)
            began = time.monotonic()
            assert task.cat("steady") == STEADY
            seconds.append(time.monotonic() - began)
        medians[names] = statistics.median(seconds)
    with_one, without = medians.values()
    with capsys.disabled():
        sys.stdout.write(f" pause: median {with_one * 1e3:.0f} ms, without a standby {without * 1e3:.0f} ms ")
    assert with_one < without / 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_standby_that_dies_or_stands_still_is_replaced_and_nobody_notices(daemon, capsys, number):
    readers = prepared(daemon)
    fs = daemon.fs_pid()
    standby = loaded(daemon)
    os.kill(standby, number)
    another = loaded(daemon)
    assert another == daemon.standby() != standby
    assert not alive(standby)
    assert daemon.fs_pid() == fs
    daemon.kill("fs")
    assert daemon.wait_for("child ready", module="secretfs.fs")["pid"] == another
    nothing_was_noticed(readers, capsys)


def test_fs_and_standby_killed_at_once_are_not_noticed(daemon, capsys):
    readers = prepared(daemon)
    for _ in range(3):
        loaded(daemon)
        daemon.kill("fs", "standby")
        daemon.wait_for("child ready", module="secretfs.fs")
    nothing_was_noticed(readers, capsys)


def test_a_standby_touches_neither_the_device_nor_the_arena(daemon, tmp_path, capsys):
    readers = prepared(daemon)
    standby = loaded(daemon)
    trace = tmp_path / "trace"
    with subprocess.Popen(["strace", "-f", "-o", trace, "-p", str(standby)], stderr=subprocess.PIPE) as strace:
        assert b"attached" in strace.stderr.readline()
        for _ in range(5):
            daemon.grant("web", {"steady": "steady", "other": "other"})
            daemon.grant("web", {"steady": "steady"})
        strace.terminate()
    device = next(fd.name for fd in Path(f"/proc/{standby}/fd").iterdir() if os.readlink(fd) == "/dev/fuse")
    assert device not in [number for _, number in DEVICE_CALLS.findall(trace.read_text())]
    smaps = Path(f"/proc/{standby}/smaps").read_text()
    assert re.search(r"secretfs-arena[^\n]*\n(?:\w+:.*\n)*?Rss: +0 kB", smaps), "no page of it was ever read"
    nothing_was_noticed(readers, capsys)


def test_no_standby_is_left_when_the_supervisor_dies_and_the_next_has_one(daemon):
    standby = os.pidfd_open(loaded(daemon))
    daemon.kill("supervisor")
    ended(standby)
    daemon.start()
    assert loaded(daemon) == daemon.standby()


def test_no_standby_is_left_when_the_daemon_is_stopped(daemon):
    standby = os.pidfd_open(loaded(daemon))
    assert daemon.end() == 0
    ended(standby)


def test_a_connection_that_was_made_anew_has_a_standby_of_its_own(daemon):
    daemon.secret("steady", STEADY)
    daemon.cli("service", "create", "--secret", "steady", "web")
    task = daemon.task("--service", "web")
    useless = loaded(daemon)
    subprocess.run(["umount", "-f", daemon.mountpoint], capture_output=True)
    daemon.wait_for("mounted anew")
    daemon.wait_for("repaired")
    standby = loaded(daemon)
    assert not alive(useless)
    daemon.kill("fs")
    assert task.cat("steady") == STEADY
    assert daemon.fs_pid() == standby


def test_an_upgrade_brings_a_standby_of_the_new_version(idle_daemon, tmp_path):
    installed = Installation(tmp_path / "venv")
    idle_daemon.program = installed.program
    idle_daemon.start()
    loaded(idle_daemon)
    installed.change("fs/standby.py", "_say(end, serving.Loaded())", 'log.info("v2"), _say(end, serving.Loaded())')
    installed.change("fs/standby.py", "from secretfs.fs.links", "from secretfs.fs import log\nfrom secretfs.fs.links")
    os.kill(idle_daemon.pid, signal.SIGHUP)
    idle_daemon.wait_for("upgrade")
    idle_daemon.wait_for("v2")
    idle_daemon.wait_for("child ready", module="secretfs.fs")
    idle_daemon.wait_for("v2")
    assert loaded(idle_daemon) == idle_daemon.standby()


def ended(pidfd: int) -> None:
    try:
        assert process.ended(pidfd, 10)
    finally:
        os.close(pidfd)
