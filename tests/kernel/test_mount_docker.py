"""``secretfs mount`` into a container of a real Docker engine."""

import os
import subprocess
from pathlib import Path

import pytest
from daemons import ANSWER_SECONDS, SECRETFS
from engine import engine

pytestmark = [pytest.mark.kernel, pytest.mark.docker]

COMMANDS = ("sleep", "cat", "ls", "umount")


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    """The command line of an engine of its own, with an image ``busybox``."""
    base = tmp_path_factory.mktemp("docker")
    (base / "image" / "bin").mkdir(parents=True)
    (base / "image" / "run" / "secrets").mkdir(parents=True)
    (base / "image" / "bin" / "busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
    (base / "image" / "bin" / "busybox").chmod(0o755)
    for command in COMMANDS:
        (base / "image" / "bin" / command).symlink_to("busybox")
    image = subprocess.run(["tar", "-C", base / "image", "-c", "."], stdout=subprocess.PIPE).stdout
    with engine(base) as found:
        found.run("import", "-", "busybox", input=image)
        yield found.run


@pytest.fixture
def container(docker):
    """The id of a container."""
    found = docker("run", "--detach", "--network", "none", "busybox", "/bin/sleep", "600")
    yield found
    docker("rm", "--force", found, check=False)


def signalled(mounted, _docker, _container) -> int:
    mounted.terminate()
    return 0


def umounted(_mounted, docker, container) -> int:
    pid = docker("inspect", "--format", "{{.State.Pid}}", container)
    subprocess.run(["nsenter", "-t", pid, "-m", "umount", "/run/secrets"], check=True)
    return 0


def killed(mounted, _docker, _container) -> int:
    mounted.kill()
    return -9


def container_killed(_mounted, docker, container) -> int:
    docker("kill", container)
    return 0


@pytest.mark.parametrize("end", [signalled, umounted, killed, container_killed])
def test_a_tree_in_a_container_is_flushed_however_it_ends(daemon, docker, container, end):
    value = os.urandom(3000).hex()
    daemon.secret("db", value.encode())
    pid = docker("inspect", "--format", "{{.State.Pid}}", container)
    command = [SECRETFS, "mount", f"/proc/{pid}/root/run/secrets", "--secret", "db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=daemon.environment) as mounted:
        assert mounted.stdout.readline()
        assert docker("exec", container, "cat", "/run/secrets/db") == value
        code = end(mounted, docker, container)
        assert mounted.wait(ANSWER_SECONDS) == code
    while daemon.api("GET", "/secretfs/v1/tasks"):
        continue
    assert value[:64].encode() not in daemon.arena()
    if end is not container_killed:
        assert docker("exec", container, "ls", "/run/secrets") == ""
        assert "secretfs" not in Path(f"/proc/{pid}/mountinfo").read_text()
