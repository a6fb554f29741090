"""The daemon's start and end, and what it refuses."""

import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel


def refusal(daemon, *options: str, command: tuple[str, ...] = ()) -> str:
    """The one line of a daemon that does not start."""
    daemon.spawn(*options, **({"command": (*command, *daemon_command())} if command else {}))
    assert daemon.ended() == 1
    daemon.read_to_end()
    errors = [line for line in daemon.lines if line.startswith("secretfs: error: ")]
    assert len(errors) == 1, daemon.lines
    return errors[0].removeprefix("secretfs: error: ").strip()


def daemon_command() -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name("secretfs")), "daemon")


def test_sigterm_flushes_unmounts_and_ends_with_0(daemon):
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    fd = task.do("open", "/run/secrets/db")
    assert daemon.end() == 0
    assert task.do("read", fd, 10) in ("ENOTCONN", "EACCES", "ECONNABORTED")
    assert task.cat("db") in ("ENOTCONN", "ECONNABORTED", "ENOENT")
    assert str(daemon.mountpoint) not in Path("/proc/self/mountinfo").read_text()
    assert not (daemon.runtime / "api.sock").exists()


def test_ctrl_c_ends_it_in_order(daemon):
    os.kill(daemon.pid, signal.SIGINT)
    assert daemon.ended() == 0


def test_a_second_daemon_is_refused_and_named(daemon, tmp_path):
    second = type(daemon)(tmp_path)
    second.spawn()
    assert second.ended() == 1
    second.read_to_end()
    assert f"another secretfs daemon (pid {daemon.pid}) uses" in "".join(second.lines)
    assert daemon.out("secret", "ls", "-q") == ""


def test_a_signal_that_comes_while_the_daemon_starts_ends_it_in_order(idle_daemon):
    """Ctrl-C, before there are handlers for it."""
    idle_daemon.spawn()
    words = Path(f"/proc/{idle_daemon.pid}/cmdline")
    while b"secretfs.supervisor" not in words.read_bytes():
        pass
    os.kill(idle_daemon.pid, signal.SIGINT)
    assert idle_daemon.ended() == 0
    idle_daemon.read_to_end()
    assert all(line.startswith("{") for line in idle_daemon.lines), idle_daemon.lines
    assert not os.path.ismount(idle_daemon.mountpoint)


def test_a_dead_mount_is_replaced(idle_daemon):
    idle_daemon.start()
    idle_daemon.kill()
    with pytest.raises(OSError, match=r"not connected|connection abort"):
        os.listdir(idle_daemon.mountpoint)
    idle_daemon.start()
    assert os.listdir(idle_daemon.mountpoint) == []


def test_what_a_daemon_that_was_started_anew_revokes_is_refused_to_tasks_of_the_one_before(idle_daemon):
    """The fs of a killed supervisor serves on for a while: it must not be one that no revocation reaches."""
    idle_daemon.start()
    idle_daemon.secret("db", b"This is a secret")
    idle_daemon.cli("service", "create", "--secret", "db", "web")
    task = idle_daemon.task("--service", "web")
    fd = task.do("open", "/run/secrets/db")
    idle_daemon.kill("supervisor")
    assert bytes.fromhex(task.do("read", fd, 100)) == b"This is a secret"
    idle_daemon.start()
    idle_daemon.cli("service", "update", "--secret-rm", "db", "web")
    assert task.do("read", fd, 100).startswith("E")
    assert task.cat("db").startswith("E")


def test_ready_is_told_to_systemd(idle_daemon, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(30)
        idle_daemon.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert notify.recv(100) == b"READY=1"


@pytest.mark.parametrize("exists", [True, False])
def test_a_key_file_of_its_own_is_made_once(idle_daemon, exists):
    idle_daemon.start()
    made = idle_daemon.key.read_bytes()
    assert (idle_daemon.key.stat().st_mode & 0o777, idle_daemon.key.stat().st_uid) == (0o600, 0)
    idle_daemon.secret("db", b"This is a secret")
    idle_daemon.end()
    if exists:
        idle_daemon.start()
        assert idle_daemon.key.read_bytes() == made
        assert idle_daemon.task("--secret", "db").cat("db") == b"This is a secret"
    else:
        idle_daemon.key.unlink()
        assert str(idle_daemon.key) in refusal(idle_daemon)


def test_another_root_key_is_refused(idle_daemon):
    idle_daemon.start()
    idle_daemon.end()
    idle_daemon.key.write_bytes(os.urandom(32).hex().encode())
    assert "start the daemon with the --root-key that this store was made with" in refusal(idle_daemon)


def test_a_mountpoint_that_is_a_file_is_refused(idle_daemon, tmp_path):
    (tmp_path / "file").touch()
    expected = f"mountpoint '{tmp_path}/file' is not a directory: choose another with --mountpoint"
    assert refusal(idle_daemon, "--mountpoint", str(tmp_path / "file")) == expected


def test_a_mountpoint_that_is_not_empty_is_refused_and_left_alone(idle_daemon, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    expected = f"mountpoint '{tmp_path}/full' is not empty: choose another with --mountpoint"
    assert refusal(idle_daemon, "--mountpoint", str(tmp_path / "full")) == expected
    assert (tmp_path / "full" / "file").exists()


def test_a_state_directory_that_others_can_write_is_refused(idle_daemon):
    idle_daemon.state.mkdir()
    idle_daemon.state.chmod(0o777)
    assert "can be written by others (mode 0777): run chmod go-w" in refusal(idle_daemon)


def test_without_the_device_it_says_what_to_do(idle_daemon):
    hidden = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh")
    assert refusal(idle_daemon, command=hidden).startswith(
        "/dev/fuse cannot be opened: No such file or directory: load"
    )


def test_another_user_is_told_to_use_root(idle_daemon):
    probe = (  # the first call imports everything: another user may not reach the interpreter's files
        "import os; from secretfs.cli.main import main; main(['daemon', '--spin-us', 'x']); os.setuid(65534); "
        "raise SystemExit(main(['daemon']))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    expected = [
        "secretfs: error: the daemon must be run as root: use sudo",
        "secretfs: hint: or start one for yourself alone: secretfs daemon --rootless",
    ]
    assert (done.returncode, done.stderr.splitlines()[-2:]) == (1, expected)


def test_a_store_of_a_newer_version_is_refused_and_left_alone(idle_daemon):
    idle_daemon.start()
    idle_daemon.end()
    (path,) = idle_daemon.state.glob("*.db")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 9999")
    database.close()
    assert f"store '{path}' was written by a newer secretfs" in refusal(idle_daemon)


def test_a_changed_record_is_named_and_everything_else_goes_on(idle_daemon):
    idle_daemon.start()
    damaged = idle_daemon.secret("damaged", os.urandom(5000))
    idle_daemon.secret("whole", b"This is a secret")
    idle_daemon.end()
    (path,) = idle_daemon.state.glob("*.db")
    with sqlite3.connect(path) as database:
        changed = database.execute(
            "UPDATE record SET value = zeroblob(length(value)) WHERE key = ?", (f"value/{damaged}/1/data".encode(),)
        )
        assert changed.rowcount == 1
    database.close()
    idle_daemon.start()
    assert idle_daemon.task("--secret", "whole").cat("whole") == b"This is a secret"
    refused = idle_daemon.cli("run", "--secret", "damaged", "--", "true", check=False)
    assert refused.returncode == 125
    assert damaged in "".join(idle_daemon.lines) + refused.stderr.decode()
    assert idle_daemon.out("secret", "create", "new", "-", input=b"goes on")


def test_a_full_disk_refuses_a_create_and_loses_nothing(idle_daemon):
    disk = idle_daemon.root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    try:
        idle_daemon.state = disk / "state"
        idle_daemon.start()
        kept = idle_daemon.secret("kept", b"This is a secret")
        task = idle_daemon.task("--secret", "kept")
        refused = None
        for index in range(10):
            refused = idle_daemon.cli("secret", "create", f"s{index}", "-", input=os.urandom(400_000), check=False)
            if refused.returncode:
                break
        assert refused
        assert (refused.returncode, "full" in refused.stderr.decode()) == (1, True), refused.stderr
        assert task.cat("kept") == b"This is a secret"
        idle_daemon.kill()
        idle_daemon.start()
        assert idle_daemon.out("secret", "inspect", "-f", "{{.ID}}", "kept") == kept
    finally:
        idle_daemon.clean_up()
        subprocess.run(["umount", disk], check=True)


def test_a_full_arena_refuses_the_grant_and_serves_on(idle_daemon):
    idle_daemon.start("--arena-max", "1M")
    for name in ("a", "b", "c"):
        idle_daemon.secret(name, os.urandom(400_000))
    first = idle_daemon.task("--secret", "a", "--secret", "b")
    refused = idle_daemon.cli("run", "--secret", "c", "--", "true", check=False)
    assert refused.returncode == 125
    assert "the arena is full: raise --arena-max, or grant less" in refused.stderr.decode()
    assert len(first.cat("a")) == 400_000
    first.stop()
    assert len(idle_daemon.task("--secret", "c").cat("c")) == 400_000


def test_the_processes_are_who_they_should_be(daemon):
    """fs and control: no capability, no new privileges, not root; only the supervisor is root."""
    for name, pid in daemon.children().items():
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert {status[key] for key in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}, name
        assert (status["NoNewPrivs"], status["Groups"].split()) == ("1", [])
        assert 0 not in [int(uid) for uid in status["Uid"].split() + status["Gid"].split()], name


def test_a_host_s_usual_limit_of_descriptors_is_not_the_supervisors(idle_daemon):
    """It has one for each process of a task that is looked at, and lets no task wait for it."""
    idle_daemon.start(command=("prlimit", "--nofile=256:4000", *daemon_command()))
    for pid in idle_daemon.pids():
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "4000" in limits.partition("Max open files")[2].split()[:1], limits
    idle_daemon.secret("db", b"This is a secret")
    assert idle_daemon.task("--secret", "db").cat("db") == b"This is a secret"


def test_a_supervisor_without_a_free_descriptor_lives_and_goes_on_when_it_has_some(daemon):
    daemon.secret("db", b"This is a secret")
    task = daemon.task("--secret", "db")
    daemon.wait_for("standby loaded")
    _, most = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, most))
    os.kill(daemon.fs_pid(), signal.SIGSTOP)
    daemon.wait_for("child died", module="secretfs.fs", cause="hung")  # that it is stopped, nobody could read
    daemon.wait_for("no standby")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (most, most))
    daemon.wait_for("standby loaded")
    assert task.cat("db") == b"This is a secret"
    assert daemon.out("ps", "-q")
