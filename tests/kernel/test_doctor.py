"""``secretfs doctor`` on this machine, beside a daemon that is well, and one that is not."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from daemons import SECRETFS
from ordinary import UID, Host

from secretfs.linux.mount import mount

pytestmark = pytest.mark.kernel


def checkup(daemon, *prefix: str, code: int | None = None) -> dict[str, dict[str, str]]:
    """What it says, by the name of the check."""
    words = ["doctor", "--format", "json", "--state-dir", str(daemon.state), "--root-key", f"file:{daemon.key}"]
    done = subprocess.run([*prefix, SECRETFS, *words], capture_output=True, env=daemon.environment, timeout=60)
    found = {each["Check"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == int(any(each["Result"] == "fail" for each in found.values())), done.stderr
    assert code in (None, done.returncode)
    return found


def results(found, *checks: str) -> set[str]:
    return {found[check]["Result"] for check in checks}


def test_a_daemon_that_is_well_is_told_so(daemon):
    daemon.secret("db", os.urandom(400_000))
    daemon.cli("service", "create", "--secret", "db", "web")
    task = daemon.task("--service", "web")
    found = checkup(daemon)
    of_daemon = ("daemon", "version", "arena", "sockets", "runtime directory", "mountpoint", "disk", "root key")
    assert results(found, *of_daemon, "state directory") == {"ok"}, found
    assert results(found, "fuse device", "fuse mount", "fuse resend", "peer pidfd", "hidepid", "users") == {"ok"}
    assert found["arena"]["Found"].startswith("1 MiB locked")
    assert str(daemon.pid) not in found["processes"]["Found"]
    task.stop()


def test_what_a_killed_daemon_leaves_is_told_and_what_to_do(daemon):
    daemon.cli("service", "create", "web")
    task = daemon.task("--service", "web")
    daemon.kill()
    found = checkup(daemon, code=1)
    assert found["daemon"]["Result"] == "warn"
    assert found["mounts"]["Result"] == "fail"
    assert f"'{daemon.mountpoint}'" in found["mounts"]["Found"].partition("dead:")[2]
    assert found["sockets"]["Result"] == "warn"
    assert "api.sock, attach.sock, handover.sock" in found["sockets"]["Found"]
    task.kill()


def test_a_dead_mount_that_only_calls_itself_secretfs_is_none_of_the_daemons(daemon, tmp_path):
    place = tmp_path / "fake"
    place.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    mount("secretfs", str(place), "fuse.secretfs", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0")
    os.close(device)  # that ends it
    try:
        found = checkup(daemon)
        assert found["mounts"]["Result"] == "warn"
        assert f"'{place}'" in found["mounts"]["Found"].partition("not of this daemon:")[2]
        assert str(daemon.mountpoint) not in found["mounts"]["Found"]
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_daemon_that_stands_still_holds_the_doctor_up_for_seconds_only(daemon):
    pids = [daemon.pid, daemon.children()["control"], daemon.fs_pid()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = checkup(daemon, code=1)
        assert time.monotonic() - began < 30
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert found["daemon"]["Result"] == "fail"
    assert f"pid {daemon.pid} runs" in found["daemon"]["Found"]
    assert f"'{daemon.mountpoint}'" in found["mounts"]["Found"].partition("dead:")[0]


def test_a_key_and_a_directory_that_are_open_to_others_are_failures(idle_daemon):
    idle_daemon.state.mkdir(mode=0o700)
    idle_daemon.state.chmod(0o755)
    idle_daemon.key.write_bytes(bytes(32))
    idle_daemon.key.chmod(0o644)
    idle_daemon.mountpoint.mkdir(parents=True)
    (idle_daemon.mountpoint / "in the way\x1b[2J").touch()
    found = checkup(idle_daemon, code=1)
    assert results(found, "state directory", "root key", "mountpoint") == {"fail"}
    assert f"chmod 0600 {idle_daemon.key}" in found["root key"]["Do"]


def test_an_ordinary_user_is_told_what_only_root_can_see():
    with tempfile.TemporaryDirectory(prefix="secretfs-") as work:
        os.chmod(work, 0o755)
        host = Host(Path(work), fuse_mode=0o600)
        try:
            done = subprocess.run([*host.prefix, SECRETFS, "doctor"], capture_output=True, text=True, timeout=60)
        finally:
            host.end()
    lines = {line[:20].strip(): line[20:] for line in done.stdout.splitlines() if line[0] != " "}
    assert done.stderr == ""
    assert f"closed to uid {UID} (mode 0600)" in lines["fuse device"]
    assert lines["fuse mount"].startswith("warn")
    assert lines["memory lock"].startswith("warn")
