"""The stock docker command line, through DOCKER_HOST: what a Docker user types, and a running task of it."""

import select
import subprocess
import time

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.docker]


@pytest.fixture
def docker(daemon, tmp_path):
    environment = daemon.environment | {"DOCKER_HOST": daemon.host, "DOCKER_CONFIG": str(tmp_path / "client")}

    def run(*words: str, input: bytes | None = None, code: int = 0) -> str:
        done = subprocess.run(["docker", *words], input=input, capture_output=True, env=environment, timeout=60)
        assert done.returncode == code, (words, done.returncode, done.stderr.decode())
        return (done.stdout if code == 0 else done.stderr).decode().strip()

    return run


def test_create_ls_inspect_and_rm_behave_alike_through_both_command_lines(daemon, docker):
    first = daemon.out("secret", "create", "my_secret_data", "-", input=b"This is a secret")
    second = docker("secret", "create", "other", "-", input=b"This is another secret")
    assert {len(first), len(second)} == {25}
    columns = "{{.ID}} {{.Name}} {{.Labels}}"
    assert docker("secret", "ls", "--format", columns) == daemon.out("secret", "ls", "--format", columns)
    assert docker("secret", "inspect", "other") == daemon.out("secret", "inspect", "other")
    assert docker("secret", "inspect", "nope", code=1).splitlines()[-1].endswith("secret nope not found")
    assert "already exists" in docker("secret", "create", "OTHER", "-", input=b"x", code=1)
    assert docker("secret", "rm", "other") == "other"
    assert docker("secret", "ls", "-q") == first


def test_a_service_of_docker_becomes_trees_of_its_tasks(daemon, docker):
    docker("secret", "create", "s", "-", input=b"This is a secret")
    docker("secret", "create", "s2", "-", input=b"This is another secret")
    docker("service", "create", "-d", "--no-resolve-image", "--name", "web", "--secret",
           "source=s,target=t,uid=7,mode=0400", "busybox")  # fmt: skip
    task = daemon.task("--service", "web")
    assert (task.cat("t"), task.do("stat", "/run/secrets/t")[:3]) == (b"This is a secret", [7, 0, "400"])
    assert "is in use by the following service: web" in docker("secret", "rm", "s", code=1)
    docker("service", "update", "-d", "--no-resolve-image", "--secret-add", "s2", "web")
    assert task.cat("s2") == b"This is another secret"
    assert "web.1" in docker("service", "ps", "web")
    docker("service", "rm", "web")
    assert task.cat("t") == "ENOENT"


def test_what_a_docker_user_types_reaches_a_program_of_secretfs(daemon, docker, tmp_path):
    docker("context", "create", "secretfs", "--docker", f"host={daemon.host}")
    docker("--context", "secretfs", "secret", "create", "s", "-", input=b"This is a secret")
    docker("--context", "secretfs", "service", "create", "--name", "web", "--secret", "source=s,target=t,mode=0400",
           "-d", "busybox")  # fmt: skip
    assert daemon.out("run", "--service", "web", "--", "cat", "/run/secrets/t") == "This is a secret"


def test_events_are_told_while_they_happen_and_afterwards(daemon, docker):
    environment = daemon.environment | {"DOCKER_HOST": daemon.host}
    words = ["docker", "events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as following:
        while True:  # until it listens
            docker("secret", "create", "first", "-", input=b"x")
            docker("secret", "rm", "first")
            if select.select([following.stdout], [], [], 0.1)[0]:
                break
        docker("service", "create", "-d", "--no-resolve-image", "--name", "web", "busybox")
        daemon.out("run", "--service", "web", "--", "true")
        lines = []
        while not lines or lines[-1] != "task die web\n":
            lines.append(following.stdout.readline())
        docker("service", "rm", "web")
        lines.append(following.stdout.readline())
        following.terminate()
    told = ["service create", "task create", "task start", "task die", "service remove"]
    assert lines[-5:] == [f"{words} web\n" for words in told]
    soon = str(int(time.time()) + 1)
    past = docker("events", "--since", "1m", "--until", soon, "--filter", "type=task", "--format", "{{.Action}}")
    assert past.splitlines() == ["create", "start", "die"]


def test_a_swarm_that_is_left_takes_everything_with_it(daemon, docker):
    docker("secret", "create", "s", "-", input=b"This is a secret")
    docker("service", "create", "-d", "--no-resolve-image", "--name", "web", "--secret", "s", "busybox")
    task = daemon.task("--service", "web")
    assert "erases all current state" in docker("swarm", "leave", code=1)
    assert docker("swarm", "leave", "--force") == "Node left the swarm."
    assert task.cat("s") == "ENOENT"
    assert docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    assert "This node is not a swarm manager." in docker("secret", "ls", code=1)
    assert (
        "This node is not a swarm manager." in daemon.cli("run", "--secret", "s", "true", check=False).stderr.decode()
    )
    daemon.kill("control")
    daemon.wait_for("child ready", module="secretfs.control")
    assert docker("swarm", "init", "--advertise-addr", "127.0.0.1").startswith("Swarm initialized: current node (")
    assert docker("secret", "ls", "-q") == docker("service", "ls", "-q") == ""
    daemon.secret("s", b"another")
    assert daemon.task("--secret", "s").cat("s") == b"another"
