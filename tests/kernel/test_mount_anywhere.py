"""``secretfs mount PATH``: one tree anywhere, until a signal, an umount or kill -9; then it is flushed."""

import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from daemons import ANSWER_SECONDS, SECRETFS
from users import User

pytestmark = pytest.mark.kernel

VALUE = os.urandom(3000)
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Mount:
    """``secretfs mount`` at work; ``root`` is where its path is reached from here."""

    def __init__(self, daemon, path, *options: str, **environment: str) -> None:
        self.daemon, self.path = daemon, str(path)
        self.process = subprocess.Popen(
            [SECRETFS, "mount", self.path, *(options or ("--service", "web"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=daemon.environment | environment,
        )
        self.task = self.process.stdout.readline().decode().strip()

    def read(self, target: str = "db") -> bytes:
        return Path(self.path, target).read_bytes()

    def ended(self, code: int) -> str:
        """It ends by itself; what it said."""
        words = self.process.communicate(timeout=ANSWER_SECONDS)[1].decode()
        assert self.process.returncode == code, words
        return words

    def kill(self) -> None:
        with self.process:
            self.process.kill()

    def clean_up(self) -> None:
        """Its daemon may be gone before it has taken the mount away."""
        self.kill()
        for path in mounts_of(self.task):
            subprocess.run(["umount", "--lazy", path], check=True)


def with_service(daemon):
    """The daemon, with a service of one secret."""
    daemon.secret("db", VALUE)
    daemon.cli("service", "create", "--secret", "db", "web")
    return daemon


@pytest.fixture
def alone(daemon):
    """A daemon for one test: it may be killed."""
    return with_service(daemon)


@pytest.fixture
def web(shared_daemon):
    """A daemon that has had others before, of whom nothing is left."""
    yield with_service(shared_daemon)
    shared_daemon.empty()


@pytest.fixture
def mount():
    """Makes mounts; none is left."""
    made = []

    def mounted(daemon, path, *options: str, **environment: str) -> Mount:
        made.append(Mount(daemon, path, *options, **environment))
        return made[-1]

    yield mounted
    for each in made:
        each.clean_up()


@pytest.fixture
def place(tmp_path):
    found = tmp_path / "place"
    found.mkdir()
    yield found
    subprocess.run(["umount", "--lazy", found], capture_output=True)  # what a test has put below or on top


@pytest.fixture
def container():
    """The pid of a process with a root, a mount namespace and a pid namespace of its own."""
    script = """
        set -e
        mount -t tmpfs none /mnt
        mkdir -p /mnt/bin /mnt/proc /mnt/run/secrets /mnt/old /mnt/etc
        cp /usr/bin/busybox /mnt/bin/
        ln -s /run /mnt/link
        pivot_root /mnt /mnt/old
        cd /
        /bin/busybox mount -t proc proc /proc
        /bin/busybox umount -l /old
        echo ready
        exec /bin/busybox cat
    """
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield int(children[0])
        process.kill()


def flushed(daemon, task: str) -> None:
    """No task, no mount in any namespace, nothing in the arena."""
    while daemon.api("GET", "/secretfs/v1/tasks"):
        continue
    assert not mounts_of(task)
    assert VALUE[:64] not in daemon.arena()


def mounts_of(task: str, pid: int | str = "self") -> list[str]:
    """Where the task's tree is mounted. (Copies of mounts may be in the namespaces of daemons of other tests.)"""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if f"/{task}/" in line]


def inside(pid: int, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(["nsenter", "-t", str(pid), "-m", "-p", "-r", "/bin/busybox", *command], capture_output=True)


# -- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", STOP)
def test_a_signal_takes_the_mount_away_and_flushes(web, mount, place, number):
    mounted = mount(web, place)
    assert mounted.read() == VALUE
    assert [task["TargetDir"] for task in web.api("GET", "/secretfs/v1/tasks")] == [str(place)]
    mounted.process.send_signal(number)
    assert "flushed" in mounted.ended(0)
    assert list(place.iterdir()) == []
    flushed(web, mounted.task)


@pytest.mark.parametrize("options", [(), ("--lazy",)])
def test_umount_from_outside_ends_it(web, mount, place, options):
    mounted = mount(web, place)
    subprocess.run(["umount", *options, place], check=True)
    assert "took the mount away" in mounted.ended(0)
    flushed(web, mounted.task)


def test_after_kill_9_the_daemon_takes_the_mount_away(web, mount, place):
    mounted = mount(web, place)
    reading = os.open(place / "db", os.O_RDONLY)
    try:
        mounted.process.kill()
        web.wait_for("mounts dropped")
        with pytest.raises(PermissionError):
            os.pread(reading, 1, 0)
    finally:
        os.close(reading)
    flushed(web, mounted.task)


@pytest.mark.parametrize("words", [("detach", "{task}"), ("service", "rm", "web")])
def test_detached_by_somebody_else_it_ends_and_says_so(web, mount, place, words):
    mounted = mount(web, place)
    web.cli(*(word.format(task=mounted.task) for word in words))
    assert "detached by somebody else" in mounted.ended(1)
    assert list(place.iterdir()) == []
    flushed(web, mounted.task)


def test_only_the_mounts_of_that_task_are_taken_away(web, mount, tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    first, second = mount(web, tmp_path / "a"), mount(web, tmp_path / "b")
    subprocess.run(["mount", "--bind", tmp_path / "a", tmp_path / "c"], check=True)
    task = web.task("--service", "web")
    first.process.kill()
    web.wait_for("mounts dropped")
    assert not mounts_of(first.task), "binds of it go with it"
    assert not mounts_of(first.task, task.pid), "and copies in namespaces that were made meanwhile"
    assert (second.read(), task.cat("db")) == (VALUE, VALUE)


def test_what_was_mounted_on_top_of_a_dead_mount_stays(alone, mount, place):
    mounted = mount(alone, place)
    alone.kill()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    (place / "mine").touch()
    mounted.process.kill()
    alone.start()
    alone.wait_for("an empty tree stays mounted", task=mounted.task)
    assert (place / "mine").exists()
    subprocess.run(["umount", place], check=True)


# -- where -------------------------------------------------------------------------------------------------------------


def signalled(mounted, _inside) -> None:
    mounted.process.terminate()


def umounted(_mounted, umount) -> None:
    umount()


def killed(mounted, _inside) -> None:
    mounted.process.kill()


ENDS = [signalled, umounted, killed]


@pytest.mark.parametrize("end", ENDS)
def test_a_tree_in_a_container_is_flushed_however_it_ends(web, mount, container, end):
    mounted = mount(web, f"/proc/{container}/root/run/secrets")
    assert inside(container, "cat", "/run/secrets/db").stdout == VALUE
    end(mounted, lambda: inside(container, "umount", "/run/secrets").check_returncode())
    flushed(web, mounted.task)
    assert inside(container, "ls", "/run/secrets").stdout == b""


@pytest.mark.parametrize("end", ENDS)
def test_a_tree_in_a_chroot_is_flushed_however_it_ends(web, mount, tmp_path, end):
    root = tmp_path / "jail"
    for directory in ("bin", "run/secrets"):
        (root / directory).mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    mounted = mount(web, root / "run" / "secrets")
    command = ["chroot", root, "/bin/busybox", "cat", "/run/secrets/db"]
    assert subprocess.run(command, capture_output=True).stdout == VALUE
    end(mounted, lambda: subprocess.run(["umount", root / "run" / "secrets"], check=True))
    flushed(web, mounted.task)


def test_it_ends_with_the_last_process_of_the_container(web, mount, container):
    mounted = mount(web, f"/proc/{container}/root/run/secrets")
    os.kill(container, signal.SIGKILL)
    assert "the last process" in mounted.ended(0)
    flushed(web, mounted.task)


def test_a_link_in_a_container_does_not_lead_out_of_it(web, mount, container, tmp_path):
    mounted = mount(web, f"/proc/{container}/root/link/secrets")
    assert inside(container, "cat", "/run/secrets/db").stdout == VALUE
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if mounted.task in line]


def test_a_link_is_followed_and_a_relative_path_is_made_whole(web, mount, place, tmp_path):
    (tmp_path / "link").symlink_to("place")
    mounted = mount(web, os.path.relpath(tmp_path / "link"))
    assert (place / "db").read_bytes() == VALUE
    mounted.process.terminate()
    assert f"mounted on {place}\n" in mounted.ended(0)


def test_a_directory_of_a_read_only_file_system_will_do(web, mount, place):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], check=True)
    mounted = mount(web, place)
    assert mounted.read() == VALUE
    mounted.process.terminate()
    mounted.ended(0)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("missing", "there is no such directory"),
        ("file", "it is not a directory"),
        ("/", "it would hide everything else"),
        ("/proc/self/root", "it would hide everything else"),
        ("tree", "a tree of secretfs is there"),
        ("/proc/4194304/root/run", "cannot mount on"),
    ],
)
def test_what_cannot_be_mounted_on_is_refused_in_words(web, mount, tmp_path, path, complaint):
    (tmp_path / "file").touch()
    (tmp_path / "tree").mkdir()
    if path == "tree":
        mount(web, tmp_path / "tree")
    refused = web.cli("mount", str(tmp_path / path), "--service", "web", check=False)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert complaint in refused.stderr.decode()
    assert len(web.api("GET", "/secretfs/v1/tasks")) == (path == "tree")


def test_nobody_but_root_may(web, place):
    refused = User(web, 65534).secretfs("mount", str(place), "--service", "web")
    assert refused.returncode == 1
    assert "only root may" in refused.stderr


# -- while it lasts ----------------------------------------------------------------------------------------------------


def test_grants_and_revocations_are_seen_there(web, mount, place):
    mount(web, place)
    web.secret("other", b"the other")
    web.cli("service", "update", "--secret-add", "other", "--secret-rm", "db", "web")
    assert [(entry.name, entry.read_bytes()) for entry in place.iterdir()] == [("other", b"the other")]


def test_after_the_loss_of_everything_it_is_repaired_and_ends_as_before(alone, mount, place, container):
    mounted = [mount(alone, place), mount(alone, f"/proc/{container}/root/run/secrets")]
    for lost in (alone.kill, alone.end):
        lost()
        alone.start()
        alone.wait_for("repaired")
        assert [each.read() for each in mounted] == [VALUE] * 2
    subprocess.run(["umount", place], check=True)
    mounted[0].ended(0)
    mounted[1].process.terminate()
    mounted[1].ended(0)
    flushed(alone, mounted[0].task)


def test_killed_while_no_daemon_runs_it_is_taken_away_by_the_next(alone, mount, place):
    mounted = mount(alone, place)
    alone.kill()
    mounted.kill()
    alone.start()
    alone.wait_for("mounts dropped")
    flushed(alone, mounted.task)


def test_stopped_while_no_daemon_runs_it_takes_the_mount_away_itself(alone, mount, place):
    mounted = mount(alone, place)
    alone.kill()
    mounted.process.terminate()
    assert "cannot reach the daemon" in mounted.ended(1)
    assert not mounts_of(mounted.task)


def test_systemd_is_told_when_it_is_mounted(web, mount, place, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        mounted = mount(web, place, NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert select.select([heard], [], [], ANSWER_SECONDS)[0]
        assert heard.recv(100) == b"READY=1"
        assert mounted.read() == VALUE
