"""A host whose ``/`` is a shared mount, as systemd makes it: what is mounted there, others have as well.

The daemon's own mount must not: root in a task would find the trees of other tasks in it.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from daemons import SECRETFS

pytestmark = pytest.mark.kernel

STEADY = os.urandom(3000)


@pytest.fixture
def host(idle_daemon):
    """A process in a mount namespace with a shared ``/``; the daemon, and all that uses it, will be in there."""
    with namespace("unshare", "-m", "--propagation", "shared") as process:
        idle_daemon.program = ("nsenter", "-t", str(process.pid), "-m", "--", SECRETFS)
        yield process
        idle_daemon.clean_up()
        process.kill()


@pytest.fixture
def neighbour(idle_daemon, host):
    """A container, or a unit with PrivateTmp=: a slave of the host's mounts, made before the daemon was started."""
    with namespace(*idle_daemon.program[:-1], "unshare", "-m", "--propagation", "slave") as process:
        yield process
        process.kill()


@pytest.fixture
def web(idle_daemon, host, neighbour):
    """The daemon, with a service of one secret."""
    idle_daemon.start()
    idle_daemon.secret("steady", STEADY)
    idle_daemon.cli("service", "create", "--secret", "steady", "web")
    return idle_daemon


def namespace(*command: str) -> subprocess.Popen:
    words = [*command, "sh", "-c", "echo made; exec sleep infinity"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "made\n"
    return process


def mounted(process, path: Path) -> list[str]:
    """The types of what is mounted there, as the process sees it; the file system of all tasks' trees is fuse."""
    table = [line.split(" ") for line in Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()]
    return [fields[-3] for fields in table if fields[4] == str(path)]


def killed(daemon) -> None:
    daemon.kill()
    daemon.start()
    daemon.wait_for("repaired", failed=0)


def stopped(daemon) -> None:
    assert daemon.end() == 0
    daemon.start()
    daemon.wait_for("repaired", failed=0)


def adopted(daemon) -> None:
    daemon.take_over()
    daemon.wait_for("child ready", module="secretfs.fs")


def aborted(daemon) -> None:
    subprocess.run([*daemon.program[:-1], "umount", "-f", daemon.mountpoint], capture_output=True)
    daemon.wait_for("mounted anew")
    daemon.wait_for("repaired", failed=0)


def taken_away(daemon) -> None:
    subprocess.run([*daemon.program[:-1], "umount", daemon.mountpoint], check=True)
    daemon.wait_for("the mount was taken away: it is back")


def taken_away_twice(daemon) -> None:
    """With what lies below it."""
    os.kill(daemon.pid, signal.SIGSTOP)
    subprocess.run([*daemon.program[:-1], "umount", daemon.mountpoint, daemon.mountpoint], check=True)
    os.kill(daemon.pid, signal.SIGCONT)
    daemon.wait_for("the mount was taken away: it is back")


CASES = [killed, stopped, adopted, aborted, taken_away, taken_away_twice]


@pytest.mark.parametrize("happens", CASES)
def test_the_mount_is_seen_by_nobody_else(web, host, neighbour, happens):
    task = web.task("--service", "web")
    for _ in range(2):
        happens(web)
        assert "fuse.secretfs" in mounted(host, web.mountpoint)
        assert "fuse.secretfs" not in mounted(task, web.mountpoint) + mounted(neighbour, web.mountpoint)
        assert task.cat("steady") == STEADY
        assert web.task("--service", "web").cat("steady") == STEADY
    assert web.end() == 0
    assert [mounted(process, web.mountpoint) for process in (host, task, neighbour)] == [[], [], []]
