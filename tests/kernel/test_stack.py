"""``secretfs stack deploy`` on a real daemon and mount, with the two compose files of Docker's page about secrets."""

import os
import signal
import subprocess

import pytest

pytestmark = pytest.mark.kernel

SHORT = """\
services:
  redis:
    image: redis:latest
    deploy:
      replicas: 1
    secrets:
      - my_secret
      - my_other_secret

secrets:
  my_secret:
    file: ./my_secret.txt
  my_other_secret:
    external: true
"""
LONG = """\
services:
  redis:
    image: redis:latest
    deploy:
      replicas: 1
    secrets:
      - source: my_secret
        target: redis_secret
        uid: '103'
        gid: '103'
        mode: 0440

secrets:
  my_secret:
    file: ./my_secret.txt
  my_other_secret:
    external: true
"""


@pytest.fixture
def files(tmp_path):
    """The two files, with the one that holds the secret."""
    directory = tmp_path / "compose"
    directory.mkdir()
    (directory / "my_secret.txt").write_bytes(b"This is a secret")
    (directory / "short.yml").write_text(SHORT)
    (directory / "long.yml").write_text(LONG)
    return directory


def listed(daemon, service: str) -> dict[str, list[str]]:
    """``ls -ln`` in a task of the service: name → mode, uid, gid, size."""
    lines = daemon.out("run", "--service", service, "--", "ls", "-ln", "/run/secrets").splitlines()[1:]
    return {words[-1]: [words[0], *words[2:5]] for words in map(str.split, lines)}


def everything(daemon) -> list[str]:
    return [daemon.out(noun, "ls", "-q") for noun in ("secret", "config", "service")]


def test_a_secret_of_the_long_syntax_has_its_owner_and_mode(daemon, files):
    done = daemon.cli("stack", "deploy", "-c", str(files / "long.yml"), "st")
    assert done.stdout.decode() == "Creating secret st_my_secret\nCreating service st_redis\n"
    assert listed(daemon, "st_redis") == {"redis_secret": ["-r--r-----", "103", "103", "16"]}
    value = subprocess.run(
        [*daemon.program, "run", "--service", "st_redis", "--", "cat", "/run/secrets/redis_secret"],
        capture_output=True,
        env=daemon.environment,
        timeout=60,
    )
    assert value.stdout == b"This is a secret"


def test_without_its_external_secret_a_stack_is_refused_and_nothing_is_changed(daemon, files):
    refused = daemon.cli("stack", "deploy", "-c", str(files / "short.yml"), "st", check=False)
    assert refused.returncode == 1
    assert (
        refused.stderr.decode().splitlines()[0] == "secretfs: error: service redis: secret not found: my_other_secret"
    )
    assert everything(daemon) == ["", "", ""]


def test_with_its_external_secret_a_stack_has_both(daemon, files):
    daemon.secret("my_other_secret", b"another")
    daemon.cli("stack", "deploy", "-c", str(files / "short.yml"), "st")
    assert listed(daemon, "st_redis") == {
        "my_secret": ["-r--r--r--", "0", "0", "16"],
        "my_other_secret": ["-r--r--r--", "0", "0", "7"],
    }


def test_changed_content_is_a_rotation_that_a_running_task_sees(daemon, files):
    deploy = ("stack", "deploy", "-c", str(files / "long.yml"), "st")
    daemon.cli(*deploy)
    task = daemon.task("--service", "st_redis")
    assert task.cat("redis_secret") == b"This is a secret"
    (files / "my_secret.txt").write_bytes(b"This is another secret")
    assert "Updating secret st_my_secret" in daemon.out(*deploy)
    assert task.cat("redis_secret") == b"This is another secret"
    assert "Updating secret" not in daemon.out(*deploy)
    assert daemon.out("secret", "versions", "-q", "st_my_secret").split() == ["2", "1"]


def test_a_failed_deploy_leaves_a_running_task_as_it_was(daemon, files):
    deploy = ("stack", "deploy", "-c", str(files / "long.yml"), "st")
    daemon.cli(*deploy)
    task = daemon.task("--service", "st_redis")
    (files / "my_secret.txt").write_bytes(b"This is another secret")
    (files / "long.yml").write_text(LONG.replace("'103'", "nosuchuser", 1))
    before = everything(daemon)
    refused = daemon.cli(*deploy, check=False)
    assert (refused.returncode, b"unknown user 'nosuchuser'" in refused.stderr) == (1, True)
    assert task.cat("redis_secret") == b"This is a secret"
    assert everything(daemon) == before


def test_owners_and_modes_of_secrets_and_configs_are_honoured(daemon, files):
    (files / "more.yml").write_text(
        "services:\n  redis:\n    secrets:\n"
        '      - {source: my_secret, target: one, mode: "0400", uid: nobody}\n'
        "      - {source: my_secret, target: sub/two, mode: '${MODE}', gid: 7}\n"
        "    configs:\n      - {source: site, target: conf.d/site.conf, mode: 0o640, uid: '5'}\n"
        "secrets: {my_secret: {environment: VALUE}}\n"
        "configs: {site: {content: 'listen ${PORT:-80};'}}\n"
    )
    daemon.environment |= {"MODE": "0440", "VALUE": "from the environment"}
    daemon.cli("stack", "deploy", "-c", str(files / "more.yml"), "st")
    task = daemon.task("--service", "st_redis")
    assert task.do("stat", "/run/secrets/one")[:3] == [65534, 0, "400"]
    assert task.do("stat", "/run/secrets/sub/two")[:3] == [0, 7, "440"]
    assert task.do("stat", "/run/configs/conf.d/site.conf")[:3] == [5, 0, "640"]
    assert task.cat("sub/two") == b"from the environment"
    assert bytes.fromhex(task.do("cat", "/run/configs/conf.d/site.conf")) == b"listen 80;"


def test_a_stack_that_is_removed_is_flushed_from_running_tasks(daemon, files):
    daemon.cli("stack", "deploy", "-c", str(files / "long.yml"), "st")
    task = daemon.task("--service", "st_redis")
    daemon.cli("stack", "rm", "st")
    assert task.cat("redis_secret") == "ENOENT"
    assert everything(daemon) == ["", "", ""]


@pytest.mark.parametrize("after", [1, 12, 25, 40])
def test_a_control_that_is_killed_in_a_deploy_leaves_all_of_it_or_nothing(daemon, files, after):
    names = [f"s{at}" for at in range(30)]
    grants = "".join(f"  w{at}: {{secrets: [{', '.join(names)}]}}\n" for at in range(15))
    values = "".join(f"  {name}: {{file: ./my_secret.txt}}\n" for name in names)
    (files / "many.yml").write_text(f"services:\n{grants}secrets:\n{values}")
    command = [*daemon.program, "stack", "deploy", "-c", str(files / "many.yml"), "st"]
    with subprocess.Popen(command, env=daemon.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as deploy:
        for _ in range(after):
            assert deploy.stdout.readline().startswith(b"Creating ")
        os.kill(daemon.children()["control"], signal.SIGKILL)
        refused = deploy.communicate(timeout=60)[1].decode()
    daemon.api("GET", "/secrets")  # control is back
    counts = [len(ids.split()) for ids in everything(daemon)]
    assert (counts, deploy.returncode) in (([30, 0, 15], 0), ([0, 0, 0], 1)), refused


@pytest.mark.docker
def test_docker_s_command_line_sees_the_stack(daemon, files):
    environment = daemon.environment | {"DOCKER_HOST": daemon.host}

    def docker(*words: str) -> str:
        done = subprocess.run(["docker", "stack", *words], capture_output=True, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    daemon.cli("stack", "deploy", "-c", str(files / "long.yml"), "st")
    assert docker("ls", "--format", "{{.Name}} {{.Services}}") == "st 1"
    assert docker("services", "--format", "{{.Name}} {{.Mode}} {{.Image}}", "st") == "st_redis replicated redis:latest"
    daemon.task("--service", "st_redis")
    assert docker("ps", "--format", "{{.Name}} {{.DesiredState}}", "st") == "st_redis.1 Running"
