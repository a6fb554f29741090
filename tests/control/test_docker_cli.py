"""The stock docker command line drives secretfs unchanged: its own words, its own exit codes."""

import base64
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

pytestmark = pytest.mark.docker
ID = re.compile(r"[0-9a-z]{25}\n")


@dataclass
class Docker:
    host: str
    config: Path

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.config)}
        with trio.fail_after(20):
            done = await trio.run_process(
                ["docker", *arguments],
                env=environment,
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    async def said(self, *arguments: str, stdin: bytes = b"") -> str:
        """What a command that must succeed prints."""
        done = await self(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def docker(client, tmp_path: Path) -> Docker:
    return Docker(client.host, tmp_path / "docker")


async def test_secrets_from_create_to_rm(docker, tmp_path):
    created = await docker.said("secret", "create", "-l", "a=b", "my_secret", "-", stdin=b"This is a secret")
    assert ID.fullmatch(created)
    object_id = created.strip()
    assert await docker.said("secret", "ls", "-q") == created
    assert await docker.said("secret", "ls", "--format", '{{.Name}} {{.Label "a"}}') == "my_secret b\n"
    assert await docker.said("secret", "ls", "-q", "--filter", "name=MY") == created
    assert await docker.said("secret", "ls", "-q", "--filter", "label=a=c") == ""
    inspected = await docker.said("secret", "inspect", "MY_SECRET")
    assert f'"ID": "{object_id}"' in inspected
    assert "This is a secret" not in inspected
    assert "Data" not in inspected

    assert "my_secret" in await docker.said("secret", "inspect", "--pretty", object_id[:8])
    assert await docker.said("secret", "rm", "my_secret") == "my_secret\n"


async def test_configs_from_create_to_rm(docker, tmp_path):
    content = os.urandom(1_023_999)
    created = await docker.said("config", "create", "-l", "a=b", "my_config", "-", stdin=content)
    assert ID.fullmatch(created)
    assert await docker.said("config", "ls", "--format", '{{.ID}} {{.Name}} {{.Label "a"}}') == (
        f"{created.strip()} my_config b\n"
    )
    assert await docker.said("config", "ls", "-q", "--filter", "name=MY") == created
    data = await docker.said("config", "inspect", "--format", "{{json .Spec.Data}}", "MY_CONFIG")
    assert base64.b64decode(data) == content
    done = await docker("config", "create", "large", "-", stdin=content + b"x")
    assert done.returncode == 1
    assert done.stderr == (
        "Error response from daemon: rpc error: code = InvalidArgument desc = "
        "config data must be larger than 0 and less than 1024000 bytes\n"
    )
    await docker.said("config", "create", "short", "-", stdin=b"listen 80;\n")
    assert (await docker.said("config", "inspect", "--pretty", "short")).endswith("Data:\nlisten 80;\n\n")
    grant = "source=my_config,target=/etc/app.conf,mode=0440"
    await docker.said("service", "create", "--name", "web", "--config", grant, "redis:7")
    assert "/etc/app.conf" in await docker.said("service", "inspect", "--pretty", "web")
    done = await docker("config", "rm", "my_config")
    assert "config 'my_config' is in use by the following service: web" in done.stderr
    await docker.said("service", "update", "--config-rm", "my_config", "--config-add", "short", "web")
    assert await docker.said("config", "rm", "my_config") == "my_config\n"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (511_999, ""),
        (
            512_000,
            (
                "Error response from daemon: rpc error: code = InvalidArgument desc = "
                "secret data must be larger than 0 and less than 512000 bytes\n"
            ),
        ),
    ],
)
async def test_the_size_of_a_secret_is_dockers(docker, size, said):
    done = await docker("secret", "create", "large", "-", stdin=os.urandom(size))
    assert (done.stderr, done.returncode) == (said, bool(said))


async def test_refusals_have_dockers_words_and_exit_codes(docker):
    await docker.said("secret", "create", "a", "-", stdin=b"x")
    done = await docker("secret", "create", "A", "-", stdin=b"x")
    assert done.returncode == 1
    assert done.stderr == (
        "Error response from daemon: rpc error: code = AlreadyExists desc = secret A already exists\n"
    )
    done = await docker("secret", "rm", "nope", "a", "nope2")
    assert (done.returncode, done.stdout) == (1, "a\n")
    assert "Error response from daemon: secret nope not found" in done.stderr
    assert "Error response from daemon: secret nope2 not found" in done.stderr
    done = await docker("service", "create", "--secret", "nope", "--name", "x", "redis")
    assert (done.returncode, done.stderr) == (1, "secret not found: nope\n")
    done = await docker("service", "inspect", "nope")
    assert done.returncode == 1
    assert "no such service: nope" in done.stderr
    done = await docker("secret", "create", "--driver", "vault", "d")
    assert done.returncode == 1
    assert done.stderr == ('Error response from daemon: rpc error: code = Unknown desc = plugin "vault" not found\n')
    await docker.said("secret", "create", "--template-driver", "golang", "t", "-", stdin=b"x")
    done = await docker("service", "create", "--secret", "t", "--name", "x", "redis")
    assert done.returncode == 1
    assert "secret t is a template (golang)" in done.stderr


async def test_services_from_create_to_rm_with_a_task_that_sees_every_change(docker, control):
    await docker.said("secret", "create", "one", "-", stdin=b"1")
    await docker.said("secret", "create", "two", "-", stdin=b"2")
    grant = "source=one,target=sub/x,uid=103,gid=104,mode=0440"
    created = await docker.said("service", "create", "--name", "web", "--secret", grant, "redis:7")
    assert ID.fullmatch(created)
    attached = await control.attach("web")
    task = attached.task.id
    await control.tasks.running(task, 5)
    assert control.fs.read(task, "sub/x") == b"1"
    shown = await docker.said("service", "inspect", "--pretty", "web")
    assert "sub/x" in shown
    assert await docker.said("service", "ls", "--format", "{{.Name}} {{.Replicas}}") == "web 1/1\n"
    listed = await docker.said("service", "ps", "--no-trunc", "--format", "{{.ID}} {{.Name}} {{.DesiredState}}", "web")
    assert listed == f"{task} web.1 Running\n"
    done = await docker("secret", "rm", "one")
    assert done.returncode == 1
    assert "secret 'one' is in use by the following service: web" in done.stderr
    assert await docker.said("service", "update", "--secret-rm", "one", "--secret-add", "two", "web") == "web\n"
    assert {target for _, target in control.fs.trees[task]} == {"two"}
    assert await docker.said("service", "rollback", "web") == "web\n"
    assert {target for _, target in control.fs.trees[task]} == {"sub/x"}
    assert await docker.said("service", "rm", "web") == "web\n"
    assert control.fs.trees == {}
    assert await docker.said("secret", "rm", "one", "two") == "one\ntwo\n"


async def test_what_docker_asks_about_the_host_is_answered(docker):
    assert await docker.said("version", "--format", "{{.Server.APIVersion}}") == "1.50\n"
    assert await docker.said("info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}") == (
        "active true\n"
    )
    assert "Ready" in await docker.said("node", "ls")
    assert await docker.said("ps", "--all", "--quiet") == ""
    done = await docker("run", "busybox")
    assert done.returncode == 125
    assert "secretfs runs no containers" in done.stderr
