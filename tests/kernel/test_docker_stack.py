"""``docker stack deploy`` of the stock client: the two compose files that Docker's own manual has for secrets."""

import subprocess

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.docker]

HEAD = """\
version: "3.1"
services:
  redis:
    image: redis:latest
    deploy:
      replicas: 1
    secrets:
"""
SHORT = (
    HEAD
    + """\
      - my_secret
      - my_other_secret
secrets:
  my_secret:
    file: ./my_secret.txt
  my_other_secret:
    external: true
"""
)
LONG = (
    HEAD
    + """\
      - source: my_secret
        target: redis_secret
        uid: '103'
        gid: '103'
        mode: 0440
secrets:
  my_secret:
    file: ./my_secret.txt
"""
)


@pytest.fixture
def stack(daemon, tmp_path):
    """A directory with the secret's file and both compose files, and the stock client in it."""
    (tmp_path / "my_secret.txt").write_text("This is a secret")
    (tmp_path / "short.yml").write_text(SHORT)
    (tmp_path / "long.yml").write_text(LONG)
    environment = daemon.environment | {"DOCKER_HOST": daemon.host, "DOCKER_CONFIG": str(tmp_path / "client")}

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            ["docker", *words], capture_output=True, env=environment, cwd=tmp_path, timeout=60, text=True
        )
        assert done.returncode == code, (words, done.returncode, done.stderr)
        return done

    return run


def test_a_stack_without_its_external_secret_is_refused_in_dockers_words(stack):
    refused = stack("stack", "deploy", "--detach=true", "-c", "short.yml", "st", code=1)
    assert refused.stderr.splitlines()[-1] == "service redis: secret not found: my_other_secret"


def test_a_stack_is_deployed_changed_and_removed(daemon, stack):
    daemon.secret("my_other_secret", b"This is another secret")
    stack("stack", "deploy", "--detach=true", "-c", "short.yml", "st")
    task = daemon.task("--service", "st_redis")
    assert (task.cat("my_secret"), task.cat("my_other_secret")) == (b"This is a secret", b"This is another secret")
    assert stack("stack", "ls", "--format", "{{.Name}} {{.Services}}").stdout == "st 1\n"
    listed = stack("stack", "ps", "--format", "{{.Name}} {{.CurrentState}}", "st").stdout
    assert listed.startswith("st_redis.1 Running")
    assert stack("stack", "services", "--format", "{{.Name}} {{.Replicas}}", "st").stdout == "st_redis 1/1\n"

    stack("stack", "deploy", "--detach=true", "-c", "long.yml", "st")
    assert (task.cat("my_secret"), task.cat("redis_secret")) == ("ENOENT", b"This is a secret")
    shown = daemon.out("run", "--service", "st_redis", "--", "ls", "-ln", "/run/secrets").splitlines()
    assert [line.split()[:4] + line.split()[-1:] for line in shown[1:]] == [
        ["-r--r-----", "1", "103", "103", "redis_secret"]
    ]

    assert stack("stack", "rm", "st").stdout.splitlines() == [
        "Removing service st_redis",
        "Removing secret st_my_secret",
        "Removing network st_default",
    ]
    assert task.cat("redis_secret") == "ENOENT"
    assert stack("secret", "ls", "--format", "{{.Name}}").stdout == "my_other_secret\n"


def test_other_content_under_one_name_is_refused_as_by_docker(stack, tmp_path):
    stack("stack", "deploy", "--detach=true", "-c", "long.yml", "st")
    (tmp_path / "my_secret.txt").write_text("This is something else")
    refused = stack("stack", "deploy", "--detach=true", "-c", "long.yml", "st", code=1)
    assert "only updates to Labels are allowed" in refused.stderr
