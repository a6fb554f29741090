"""Two deaths at once, and deaths in the middle of a handover: what can go on unnoticed does, the rest is repaired."""

import contextlib
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

import pytest
from daemons import alive, report_of
from installations import Installation
from unnoticed import READERS, STEADY, nothing_was_noticed, prepared

from secretfs.linux.mount import MNT_DETACH, MNT_FORCE, mount, umount2

pytestmark = pytest.mark.kernel

ROUNDS = [4, pytest.param(40, marks=pytest.mark.long)]
NEVER_SECONDS = 30.0


def all_read_again(readers) -> None:
    """They may have seen errors, but nothing wrong, and they read now."""
    reports = [report_of(reader) for reader in readers]
    assert [report["wrong"] for report in reports] == [0] * READERS


def reads_again(task) -> None:
    began = time.monotonic()
    while (found := task.cat("steady")) != STEADY:
        assert found in ("ENOTCONN", "ECONNABORTED", "EACCES", "ENOENT"), found
        assert time.monotonic() - began < NEVER_SECONDS


def soon(seconds: float) -> None:
    select.select([], [], [], random.random() * seconds)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_an_fs_that_dies_with_its_supervisor_or_while_the_next_one_starts(daemon, rounds):
    readers = prepared(daemon)
    task = daemon.task("--service", "web")
    for index in range(rounds):
        fs = daemon.fs_pid()
        daemon.kill("supervisor")
        if index % 2:
            daemon.spawn()
        soon(1.0 if index % 2 else 0.02)
        with contextlib.suppress(ProcessLookupError):
            os.kill(fs, signal.SIGKILL)
        if not index % 2:
            daemon.spawn()
        daemon.wait_for("ready")
        reads_again(task)
    all_read_again(readers)
    assert daemon.end() == 0


def test_sighup_while_fs_or_control_is_down(daemon, capsys):
    readers = prepared(daemon)
    for name in ("fs", "control"):
        daemon.kill(name)
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for("upgrade")
        daemon.wait_for("ready")
        daemon.grant("web", {"steady": "steady"})
    nothing_was_noticed(readers, capsys)


@pytest.mark.parametrize("event", ["upgrade", "fs adopted", "ready"])
def test_sigterm_in_the_middle_of_an_upgrade_ends_everything_in_order(daemon, event):
    daemon.secret("steady", STEADY)
    task = daemon.task("--secret", "steady")
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_for("upgrade")
    if event != "upgrade":
        daemon.wait_for(event)
    assert daemon.end() == 0
    assert task.cat("steady") in ("ENOTCONN", "ECONNABORTED")
    assert daemon.living_fs() == []
    assert not os.path.ismount(daemon.mountpoint)
    daemon.start()
    daemon.wait_for("repaired")
    assert task.cat("steady") == STEADY


@pytest.mark.parametrize("module", ["fs/main.py", "control/main.py"])
def test_a_takeover_by_what_does_not_start_leaves_everything_as_it_is(daemon, tmp_path, capsys, module):
    readers = prepared(daemon)
    before = daemon.pids()
    broken = Installation(tmp_path / "venv")
    broken.change(module, "import os\n", "import os\nimport no_such_module\n")
    directories = ("--state-dir", str(daemon.state), "--runtime-dir", str(daemon.runtime))
    words = [*broken.program, "daemon", *directories, "--root-key", f"file:{daemon.key}", "--takeover"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no_such_module" in done.stderr
    assert daemon.pids() == before
    assert all(alive(pid) for pid in before)
    nothing_was_noticed(readers, capsys)


# -- a thread that no signal ends --------------------------------------------------------------------------------------

HOLDER = """
import os, signal, sys, threading
from secretfs.supervisor import setup
setup.locked(sys.argv[1])
print("locked", flush=True)
threading.Thread(target=os.stat, args=[sys.argv[2] + "/any"]).start()
signal.pause()
"""


@pytest.fixture
def unanswered(idle_daemon):
    """A file system at the mountpoint; the device, on which requests come that nobody answers."""
    idle_daemon.mountpoint.mkdir(parents=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    mount("secretfs", str(idle_daemon.mountpoint), "fuse.secretfs", 0, options)
    request = os.read(device, 1 << 17)
    unique, minor = struct.unpack_from("<Q", request, 8)[0], struct.unpack_from("<I", request, 44)[0]
    reply = struct.pack("<IIIIHHIIHHI28x", 7, minor, 4096, 0, 12, 9, 4096, 1, 0, 0, 0)
    os.write(device, struct.pack("<IiQ", 16 + len(reply), 0, unique) + reply)
    yield device
    os.close(device)
    for flags in (MNT_FORCE, MNT_DETACH):
        with contextlib.suppress(OSError):
            umount2(str(idle_daemon.mountpoint), flags)


@pytest.mark.parametrize("options", [(), ("--takeover",)])
def test_a_dead_supervisor_with_a_thread_that_waits_for_a_dead_fs_lets_go_of_its_locks(
    idle_daemon, unanswered, options
):
    command = [sys.executable, "-c", HOLDER, str(idle_daemon.runtime), str(idle_daemon.mountpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        os.read(unanswered, 1 << 17)  # it waits for an answer now: state D
        holder.kill()
        idle_daemon.start(*options)
    assert idle_daemon.end() == 0
