"""The socket of a service, as a container has it: a directory, mounted where other namespaces see it."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest
from daemons import SECRETFS, Daemon
from users import User

pytestmark = pytest.mark.kernel

VALUE = b"for web"
UID = 4242
WAIT_SECONDS = 30
CONTAINERS = {
    "root without a user namespace": ("--mount", "--pid"),
    "root of a user namespace": ("--mount", "--pid", "--user", "--map-root-user"),
    "root that shares the host's pids": ("--mount",),
}


@pytest.fixture(scope="module")
def host():
    root = Path(tempfile.mkdtemp(prefix="secretfs-sockets-"))
    root.chmod(0o755)
    daemon = Daemon(root)
    try:
        daemon.start()
        daemon.secret("a", VALUE)
        daemon.cli("service", "create", "--secret", "source=a,target=db", "web")
        daemon.cli("service", "create", "--secret", "a", "other")
        yield daemon
    finally:
        daemon.clean_up()
        shutil.rmtree(root)


class Container:
    """Its own mount and pid namespaces, and the directory of one service at a place of its own, read-only."""

    def __init__(self, daemon: Daemon, service: str, namespaces: tuple[str, ...], place: Path) -> None:
        self.place = place
        place.mkdir(exist_ok=True)
        services = daemon.runtime / "services" / service
        script = f"mount --bind -o ro {services} {place} && umount {daemon.mountpoint} && exec unshare {{}} --fork cat"
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", script.format(" ".join(namespaces))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._process.stdin.write(b"x")
        self._process.stdin.flush()
        assert self._process.stdout.read(1) == b"x"
        self._pid = child_of(child_of(self._process.pid))
        self._kinds = [name for name in ("--mount", "--pid", "--user") if name in namespaces]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, *words: str) -> subprocess.CompletedProcess:
        """``secretfs run`` inside."""
        inside = ["nsenter", "--target", str(self._pid), *self._kinds, "--preserve-credentials"]
        command = [*inside, SECRETFS, "--host", f"unix://{self.place}/attach.sock", "run", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def refusal(self, *words: str) -> str:
        done = self.run(*words, "--", "true")
        assert (done.returncode, done.stdout) == (125, ""), done
        return done.stderr


@pytest.fixture(params=CONTAINERS.values(), ids=CONTAINERS)
def container(request, host):
    with Container(host, "web", request.param, host.root / "place") as made:
        yield made


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def until(condition) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("service", [(), ("--service", "web"), ("--service", "WEB")])
def test_a_container_runs_tasks_of_its_service(container, service):
    done = container.run(*service, "--", "cat", "/run/secrets/db")
    assert (done.returncode, done.stdout.encode(), done.stderr) == (0, VALUE, "")


def test_a_container_runs_nothing_else(container):
    assert "this socket is for tasks of service web only" in container.refusal("--service", "other")
    assert "this socket gives what its service is granted, and nothing else" in container.refusal("--secret", "a")


def test_a_container_s_task_ends_with_it(host):
    with Container(host, "web", CONTAINERS["root without a user namespace"], host.root / "place") as made:
        inside = ["nsenter", "--target", str(made._pid), "--mount", "--pid"]
        command = [*inside, SECRETFS, "--host", f"unix://{made.place}/attach.sock", "run", "--", "cat"]
        with subprocess.Popen(command, stdin=subprocess.PIPE):
            until(lambda: host.api("GET", "/secretfs/v1/tasks"))
            made.__exit__()
            until(lambda: not host.api("GET", "/secretfs/v1/tasks"))
    assert VALUE not in host.arena()


def test_users_of_the_host_do_not_reach_the_sockets(host):
    services = host.runtime / "services"
    assert services.stat().st_mode & 0o7 == 0
    user = User(host, UID)
    done = user.secretfs("--host", f"unix://{services}/web/attach.sock", "run", "--", "true")
    assert done.returncode == 125
    assert "no permission to connect" in done.stderr
    assert user.secretfs(
        "--host", f"unix://{host.runtime}/attach.sock", "run", "--service", "web", "--", "true"
    ).returncode


def test_a_user_of_the_host_who_reaches_it_needs_leave_even_so(host):
    """Somebody has mounted it where everybody is."""
    place = host.root / "open"
    place.mkdir()
    subprocess.run(["mount", "--bind", host.runtime / "services" / "web", place], check=True)
    try:
        user = User(host, UID)
        words = ("--host", f"unix://{place}/attach.sock", "run", "--service", "web", "--", "true")
        assert f"uid {UID} may not run tasks of service web" in user.secretfs(*words).stderr
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_socket_is_there_as_long_as_its_service(host):
    directory = host.runtime / "services" / "short"
    for _ in range(3):
        host.cli("service", "create", "--secret", "a", "short")
        until((directory / "attach.sock").exists)
        assert oct(directory.stat().st_mode & 0o777) == oct(0o755)
        host.cli("service", "rm", "short")
        until(lambda: not directory.exists())


def test_a_service_with_the_longest_name_in_a_long_directory_has_a_socket(host):
    name = "x" * 63
    host.cli("service", "create", "--secret", "a", name)
    assert len(str(host.runtime / "services" / name / "attach.sock")) > 107, "longer than a socket's address"
    with Container(host, name, ("--mount",), host.root / "place") as made:
        until(lambda: made.run("--", "true").returncode == 0)
    host.cli("service", "rm", name)


def test_a_mounted_directory_outlives_control_and_the_daemon(host):
    with Container(host, "web", CONTAINERS["root without a user namespace"], host.root / "place") as made:
        for _ in range(3):
            host.kill("control")
            assert made.run("--", "cat", "/run/secrets/db").stdout.encode() == VALUE, "it asks until control is back"
        assert host.end() == 0
        assert "no daemon is listening" in made.refusal()
        assert (host.runtime / "services" / "web").is_dir()
        host.start()
        assert made.run("--", "cat", "/run/secrets/db").stdout.encode() == VALUE
        host.kill()
        host.start()
        assert made.run("--", "cat", "/run/secrets/db").stdout.encode() == VALUE
        host.take_over()
        assert made.run("--", "cat", "/run/secrets/db").stdout.encode() == VALUE


def test_what_is_left_of_services_that_are_gone_is_removed_at_the_next_start(host):
    services = host.runtime / "services"
    host.end()
    (services / "gone").mkdir()
    (services / "foreign").mkdir()
    (services / "foreign" / "file").write_text("somebody's")
    host.start()
    assert sorted(os.listdir(services)) == ["foreign", "other", "web"]
    shutil.rmtree(services / "foreign")
