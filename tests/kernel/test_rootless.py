"""``secretfs daemon --rootless``: an ordinary user's own, in a user namespace."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from daemons import SECRETFS, Daemon, Errno, alive
from ordinary import UID, Host

pytestmark = pytest.mark.kernel
DEADLINE_SECONDS = 20
DEAD = (Errno("ENOTCONN"), Errno("ECONNABORTED"))


class RootlessDaemon(Daemon):
    """All of it in directories of the user."""

    def __init__(self, host: Host, root: Path) -> None:
        super().__init__(root)
        self.prefix = host.prefix
        self.program = (*host.prefix, SECRETFS)
        self.runtime = root / "xdg" / "secretfs"
        self.mountpoint = self.runtime / "mnt"
        self.host = f"unix://{self.runtime}/api.sock"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "home"),
            "XDG_RUNTIME_DIR": str(root / "xdg"),
        }


@pytest.fixture
def user_host():
    """A host with an ordinary user, who has a home; and where that is."""
    with tempfile.TemporaryDirectory(prefix="secretfs-") as work:
        for path in (Path(work), *(Path(work, name) for name in ("home", "xdg"))):
            path.mkdir(exist_ok=True)
            path.chmod(0o700)
            os.chown(path, UID, UID)
        host = Host(Path(work))
        try:
            yield host, Path(work)
        finally:
            host.end()


@pytest.fixture
def user_daemon(user_host):
    """A daemon of the user that serves."""
    daemon = RootlessDaemon(*user_host)
    try:
        yield daemon.start("--rootless")
    finally:
        daemon.clean_up()


def until(true, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what


def test_who_waits_for_a_daemon_of_his_own_finds_it_when_it_comes(user_host):
    """Before it is there, the host's is what the command line would ask."""
    daemon = RootlessDaemon(*user_host)
    try:
        with subprocess.Popen([*daemon.program, "wait", "--timeout", "15s"], env=daemon.environment) as waiting:
            daemon.start("--rootless")
            assert waiting.wait(DEADLINE_SECONDS) == 0
    finally:
        daemon.clean_up()


def test_a_user_has_his_secrets_without_root(user_daemon):
    user_daemon.secret("db", b"hunter2")
    user_daemon.secret("token", b"t" * 400_000)
    user_daemon.cli("service", "create", "--secret", "source=db,mode=0400", "--secret", "token", "web")
    task = user_daemon.task("--service", "web")
    assert task.cat("db") == b"hunter2"
    assert task.cat("token") == b"t" * 400_000
    status = task.do("cat", "/proc/self/status")
    assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in bytes.fromhex(status).decode()
    assert "CapEff:\t0000000000000000\n" in bytes.fromhex(status).decode()
    user_daemon.cli("service", "update", "--secret-rm", "db", "web")
    assert task.cat("db") == Errno("ENOENT")
    assert task.cat("token") == b"t" * 400_000
    assert task.stop() == 0
    until(lambda: not user_daemon.out("ps", "-q"), "the task does not end")


def test_a_daemon_of_the_host_beside_it_is_in_nobodys_way(user_daemon, daemon):
    assert daemon.out("ps", "-q") == ""
    user_daemon.secret("db", b"hunter2")
    user_daemon.cli("service", "create", "--secret", "db", "web")
    assert user_daemon.task("--service", "web").cat("db") == b"hunter2"


def test_fs_and_control_have_no_capabilities_and_do_not_matter(user_daemon):
    user_daemon.secret("db", b"hunter2")
    user_daemon.cli("service", "create", "--secret", "db", "web")
    task = user_daemon.task("--service", "web")
    for module, pid in user_daemon.children().items():
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}, module
        assert status["NoNewPrivs"] == "1"
    for name in ("fs", "control"):
        before = user_daemon.children()[name]
        user_daemon.kill(name)
        assert task.cat("db") == b"hunter2"
        until(lambda name=name, before=before: user_daemon.children().get(name, before) != before, f"no new {name}")
    user_daemon.wait_for("child ready", module="secretfs.control", pid=user_daemon.children()["control"])
    assert user_daemon.task("--service", "web").cat("db") == b"hunter2"
    assert task.cat("db") == b"hunter2"


def test_the_next_supervisor_takes_over_in_the_same_namespaces(user_daemon):
    user_daemon.secret("db", b"hunter2")
    user_daemon.cli("service", "create", "--secret", "db", "web")
    task = user_daemon.task("--service", "web")
    user_daemon.kill("supervisor")
    assert task.cat("db") == b"hunter2"
    user_daemon.start("--rootless")
    assert task.cat("db") == b"hunter2"
    os.kill(user_daemon.pid, signal.SIGHUP)
    user_daemon.wait_for("ready")
    assert user_daemon.task("--service", "web").cat("db") == b"hunter2"
    user_daemon.cli("service", "update", "--secret-rm", "db", "web")
    assert task.cat("db") == Errno("ENOENT")


def test_after_a_total_loss_the_next_start_repairs_the_tasks(user_daemon):
    user_daemon.secret("db", b"hunter2")
    user_daemon.cli("service", "create", "--secret", "db", "web")
    task = user_daemon.task("--service", "web")
    user_daemon.kill()
    assert task.cat("db") in DEAD
    user_daemon.start("--rootless")
    until(lambda: task.cat("db") == b"hunter2", "not repaired")


def test_what_a_user_may_lock_each_process_may(user_daemon):
    """Of 8 MiB as a rule: supervisor and fs lock the same memory, and neither of the two at the other's cost."""
    for index in range(10):
        user_daemon.secret(f"s{index}", os.urandom(500_000))
    user_daemon.task(*(word for index in range(10) for word in ("--secret", f"s{index}")))
    for pid in (user_daemon.pid, user_daemon.fs_pid()):
        status = Path(f"/proc/{pid}/status").read_text()
        assert int(status.partition("VmLck:")[2].split()[0]) * 1024 >= 5_000_000, status


def test_sigterm_leaves_nothing(user_daemon):
    user_daemon.secret("db", b"hunter2")
    user_daemon.cli("service", "create", "--secret", "db", "web")
    task = user_daemon.task("--service", "web")
    pids = user_daemon.pids()
    assert user_daemon.end() == 0
    assert not any(map(alive, pids))
    assert task.cat("db") in DEAD
    assert not [path for path in user_daemon.runtime.iterdir() if path.is_socket()]


def test_nobody_else_gets_in(user_daemon):
    user_daemon.secret("db", b"hunter2")
    modes = {path.name: path.stat().st_mode & 0o777 for path in user_daemon.runtime.iterdir() if path.is_socket()}
    assert set(modes.values()) == {0o600}, modes
    assert user_daemon.runtime.stat().st_mode & 0o777 == 0o700
    words = ["run", "--host", user_daemon.host, "--secret", "db", "--", "cat", "/run/secrets/db"]
    other = [word.replace(str(UID), "4243") for word in user_daemon.prefix]
    for prefix in (other, [], ["unshare", "--user", "--map-root-user"]):
        done = subprocess.run([*prefix, SECRETFS, *words], capture_output=True, timeout=60)
        assert (done.returncode, done.stdout) == (125, b""), done
    own_namespace = ["unshare", "--user", "--map-root-user"]
    done = subprocess.run(
        [*user_daemon.prefix, *own_namespace, SECRETFS, *words],
        capture_output=True,
        env=user_daemon.environment,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (125, b""), done


def test_where_fuse_is_closed_to_users_the_refusal_says_what_to_do(user_host):
    host, work = user_host
    daemon = RootlessDaemon(host, work)
    (work / "fuse").chmod(0o600)
    with contextlib.closing(_Cleaned(daemon)):
        daemon.spawn("--rootless")
        assert daemon.ended() == 1
        daemon.read_to_end()
    assert daemon.lines == ["secretfs: error: /dev/fuse is closed to this user: run chmod 0666 /dev/fuse, as root\n"]


def test_a_task_of_the_user_looks_into_no_other_and_not_into_the_daemon(user_daemon):
    user_daemon.secret("db", b"hunter2")
    user_daemon.secret("token", b"t")
    task, other = user_daemon.task("--secret", "db"), user_daemon.task("--secret", "token")
    refused = (Errno("EACCES"), Errno("EPERM"))
    assert other.do("cat", f"/proc/{task.pid}/root/run/secrets/db") in refused
    assert other.do("cat", f"/proc/{task.pid}/maps") in refused
    for pid in user_daemon.pids():
        assert other.do("cat", f"/proc/{pid}/maps") in refused
    again = ["run", "--secret", "db", "--", "cat", "/run/secrets/db"]  # nor does it start one
    done = user_daemon.cli("run", "--secret", "token", "--", SECRETFS, *again, check=False)
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("kinds", [("user", "mnt"), ()], ids=["of the host", "of nobody"])
def test_namespaces_that_are_another_s_by_now_are_not_joined(user_host, kinds):
    daemon = RootlessDaemon(*user_host)
    daemon.runtime.mkdir(mode=0o700)
    record = daemon.runtime / "namespaces"
    record.write_text(" ".join(str(os.stat(f"/proc/self/ns/{kind}").st_ino) for kind in kinds) or "1 2")
    for path in (daemon.runtime, record):
        os.chown(path, UID, UID)
    with contextlib.closing(_Cleaned(daemon)):
        daemon.start("--rootless")
        assert record.read_text().split()[0] == str(os.stat(f"/proc/{daemon.pid}/ns/user").st_ino)


def test_the_doctor_knows_a_daemon_of_a_user(user_daemon):
    done = user_daemon.cli("doctor")
    lines = {line[:20].strip(): line[20:] for line in done.stdout.decode().splitlines() if line[0] != " "}
    for check in ("daemon", "arena", "processes", "sockets", "api access", "state directory", "root key", "users"):
        assert lines[check].startswith("ok"), lines[check]
    assert "6 MiB at most" in lines["arena"]


class _Cleaned:
    def __init__(self, daemon: Daemon) -> None:
        self.close = daemon.clean_up
