"""docker-py, unchanged: its high-level objects against a daemon, and a running task that sees what they do."""

import threading

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import ConfigReference, SecretReference

pytestmark = [pytest.mark.kernel, pytest.mark.docker]


@pytest.fixture
def client(shared_daemon):
    found = docker.DockerClient(base_url=shared_daemon.host, version="auto", timeout=30)
    try:
        yield found
    finally:
        found.close()


def labelled(client, kind, found, labels):
    """Give it other labels: docker-py has no word for it."""
    path = f"/{kind}s/{found.id}/update"
    spec = {"Name": found.name, "Labels": labels}
    answer = client.api._post_json(
        client.api._url(path), data=spec, params={"version": found.attrs["Version"]["Index"]}
    )
    client.api._raise_for_status(answer)


def test_what_this_is_is_answered(client):
    assert client.ping()
    assert client.version()["ApiVersion"] == client.api.api_version == "1.50"
    assert client.info()["Swarm"]["LocalNodeState"] == "active"
    assert client.swarm.attrs["Spec"]["Name"] == "default"
    [node] = client.nodes.list()
    assert node.attrs["Spec"]["Role"] == "manager"
    assert client.nodes.get(node.id).attrs["Status"]["State"] == "ready"
    assert [network.name for network in client.networks.list()] == ["bridge", "host", "none"]
    nothing = [client.containers.list(all=True), client.images.list(), client.volumes.list(), client.plugins.list()]
    assert nothing == [[], [], [], []]
    assert client.df()["Containers"] == []
    with pytest.raises(APIError, match="secretfs runs no containers"):
        client.containers.run("busybox", "true")


@pytest.mark.parametrize("kind", ["secret", "config"])
def test_an_object_from_create_to_remove(client, kind):
    objects = getattr(client, f"{kind}s")
    first = objects.create(name="first", data=b"This is a value", labels={"tier": "web"})
    second = objects.create(name="second", data=b"\x00\xff\n")
    assert {found.id for found in objects.list()} == {first.id, second.id}
    for filters in ({"name": "FIR"}, {"id": first.id[:9]}, {"label": "tier=web"}, {"label": ["tier"]}):
        assert [found.name for found in objects.list(filters=filters)] == ["first"], filters
    with pytest.raises(APIError, match=f"{kind} FIRST already exists"):
        objects.create(name="FIRST", data=b"x")
    found = objects.get("first")
    assert (found.id, found.attrs["Spec"]["Labels"]) == (first.id, {"tier": "web"})
    assert ("Data" in found.attrs["Spec"]) is (kind == "config")
    labelled(client, kind, found, {"tier": "db"})
    with pytest.raises(APIError, match="update out of sequence"):
        labelled(client, kind, found, {})
    found.reload()
    assert found.attrs["Spec"]["Labels"] == {"tier": "db"}
    for one in (found, second):
        one.remove()
    with pytest.raises(NotFound, match=f"{kind} first not found"):
        objects.get("first")


def test_a_service_with_secrets_and_configs_and_its_task(client, shared_daemon):
    secret = client.secrets.create(name="s", data=b"This is a secret")
    config = client.configs.create(name="c", data=b"listen 80;\n")
    service = client.services.create(
        "busybox",
        ["true"],
        name="web",
        labels={"tier": "web"},
        env=["A=1"],
        secrets=[SecretReference(secret.id, "s", filename="t", uid="7", mode=0o400)],
        configs=[ConfigReference(config.id, "c", filename="site.conf")],
    )
    task = shared_daemon.task("--service", "web")
    assert (task.cat("t"), task.do("stat", "/run/secrets/t")[:3]) == (b"This is a secret", [7, 0, "400"])
    assert task.do("cat", "/run/configs/site.conf") == b"listen 80;\n".hex()
    [running] = service.tasks(filters={"desired-state": "running"})
    assert running["Status"]["State"] == "running"
    assert running["Status"]["ContainerStatus"]["PID"] == task.pid
    assert running["NodeID"] == client.nodes.list()[0].id
    assert [found.name for found in client.services.list(filters={"label": "tier=web"})] == ["web"]

    another = client.secrets.create(name="s2", data=b"another")
    service.reload()
    service.update(secrets=[SecretReference(another.id, "s2")], fetch_current_spec=True)
    assert (task.cat("s2"), task.cat("t")) == (b"another", "ENOENT")
    service.reload()
    container = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert (container["Env"], container["Command"]) == (["A=1"], ["true"])
    assert service.attrs["PreviousSpec"]["Labels"] == {"tier": "web"}
    assert service.scale(3)
    with pytest.raises(APIError, match="secret 's2' is in use by the following service: web"):
        another.remove()
    with pytest.raises(APIError, match="secretfs keeps no logs"):
        list(service.logs(stdout=True))
    service.remove()
    assert task.cat("s2") == "ENOENT"
    for one in (another, secret, config):
        one.remove()


def test_events_are_heard(client):
    heard = client.events(decode=True, filters={"type": "secret"})
    told = []

    def listen():
        for event in heard:
            told.append((event["Action"], event["Actor"]["Attributes"]["name"]))
            if event["Action"] == "remove":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    client.secrets.create(name="s", data=b"x").remove()
    listener.join(30)
    heard.close()
    assert told == [("create", "s"), ("remove", "s")]


def test_a_network_is_a_record(client):
    network = client.networks.create("n", driver="overlay", labels={"a": "b"})
    assert client.networks.get("n").attrs["Scope"] == "swarm"
    assert [found.id for found in client.networks.list(filters={"label": "a=b"})] == [network.id]
    network.remove()
    with pytest.raises(NotFound):
        client.networks.get("n")
