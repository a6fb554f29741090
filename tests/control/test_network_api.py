"""Networks are records that Docker's clients make, find and remove; what there is not is empty, missing or refused."""

import pytest

OVERLAY = {"Name": "st_default", "Driver": "overlay", "Labels": {"a": "b"}, "Options": None}


async def test_a_network_is_created_found_and_removed(client):
    created = await client("POST", "/networks/create", OVERLAY)
    assert (created.status, created.json["Warning"]) == (201, "")
    network_id = created.json["Id"]
    for reference in ("st_default", network_id, network_id[:9]):
        found = (await client("GET", f"/v1.50/networks/{reference}?scope=swarm")).json
        assert (found["Id"], found["Scope"], found["Labels"]) == (network_id, "swarm", {"a": "b"})
    assert (await client("DELETE", "/networks/st_default")).status == 204
    answer = await client("GET", "/networks/st_default")
    assert (answer.status, answer.message) == (404, "network st_default not found")


FILTERED = {
    "": ["bridge", "host", "none", "st_default"],
    '{"label":{"a=b":true}}': ["st_default"],
    '{"label":["a=c"]}': [],
    '{"name":["st_"]}': ["st_default"],
    '{"driver":["overlay"]}': ["st_default"],
    '{"scope":["local"]}': ["bridge", "host", "none"],
    '{"type":["custom"]}': ["st_default"],
    '{"dangling":["false"]}': ["bridge", "host", "none"],
}


@pytest.mark.parametrize(("filters", "names"), FILTERED.items())
async def test_networks_are_listed_by_filters(client, filters, names):
    await client("POST", "/networks/create", OVERLAY)
    answer = await client("GET", f"/networks?filters={filters}")
    assert [network["Name"] for network in answer.json] == names


REFUSED = [
    (OVERLAY, 409, "network with name st_default already exists"),
    ({"Name": "ST_default", "Driver": "overlay"}, 409, "network with name ST_default already exists"),
    ({"Name": "host"}, 409, "network with name host already exists"),
    ({"Driver": "overlay"}, 400, "invalid name: "),
    ({"Name": "a b"}, 400, "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component"),
    ({"Name": "x", "Driver": "d"}, 404, 'plugin "d" not found'),
    ({"Name": 5}, 400,
     "invalid JSON: json: cannot unmarshal number into Go struct field NetworkCreateRequest.Name of type string"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "text"), REFUSED)
async def test_what_cannot_be_a_network_is_refused_in_dockers_words(client, body, status, text):
    await client("POST", "/networks/create", OVERLAY)
    answer = await client("POST", "/networks/create", body)
    assert (answer.status, answer.message) == (status, text)


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ('{"foo":["x"]}', "invalid filter 'foo'"),
        ('{"type":["x"]}', "invalid filter: 'type'='x'"),
        ('{"dangling":["x"]}', 'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'),
    ],
)
async def test_a_filter_that_there_is_not_is_refused(client, filters, text):
    answer = await client("GET", f"/networks?filters={filters}")
    assert (answer.status, answer.message) == (400, text)


async def test_a_network_stays_while_a_service_names_it(client):
    network_id = (await client("POST", "/networks/create", OVERLAY)).json["Id"]
    networks = [{"target": "st_default", "Aliases": ["db"]}, {"Target": "host"}]
    spec = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "x"}, "Networks": networks}}
    service_id = (await client("POST", "/services/create", spec)).json["ID"]
    kept = (await client("GET", "/services/web")).json["Spec"]["TaskTemplate"]["Networks"]
    assert kept == [{"Target": network_id, "Aliases": ["db"]}, {"Target": "host"}]
    spec["Name"], networks[0]["target"] = "web2", "nope"
    answer = await client("POST", "/services/create", spec)
    assert (answer.status, answer.message) == (404, "network nope not found")
    answer = await client("DELETE", "/networks/st_default")
    assert (answer.status, answer.message) == (
        400,
        f"rpc error: code = FailedPrecondition desc = network {network_id} is in use by service {service_id}",
    )
    await client("DELETE", "/services/web")
    assert (await client("DELETE", "/networks/st_default")).status == 204


async def test_a_network_that_every_engine_has_stays(client):
    answer = await client("DELETE", "/networks/host")
    assert (answer.status, answer.message) == (409, "host is a pre-defined network and cannot be removed")


@pytest.mark.parametrize(
    ("path", "empty"),
    [
        ("/containers/json?all=1", []),
        ("/images/json", []),
        ("/plugins", []),
        ("/volumes", {"Volumes": [], "Warnings": None}),
    ],
)
async def test_what_there_is_not_is_an_empty_list(client, path, empty):
    answer = await client("GET", path)
    assert (answer.status, answer.json) == (200, empty)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/containers/x/json", "No such container: x"),
        ("/images/x/json", "No such image: x"),
        ("/volumes/x", "get x: no such volume"),
        ("/plugins/x/json", 'plugin "x" not found'),
        ("/distribution/redis:7/json", "secretfs asks no registry about redis:7"),
    ],
)
async def test_what_there_is_not_is_not_found(client, path, text):
    answer = await client("GET", path)
    assert (answer.status, answer.message) == (404, text)


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("POST", "/v1.50/containers/x/stop", "No such container: x"),
        ("POST", "/containers/x/kill?signal=HUP", "No such container: x"),
        ("DELETE", "/containers/x?force=1", "No such container: x"),
        ("GET", "/containers/x/logs?stdout=1", "No such container: x"),
        ("POST", "/images/x/tag?repo=y", "No such image: x"),
        ("DELETE", "/images/x", "No such image: x"),
        ("DELETE", "/volumes/x", "get x: no such volume"),
    ],
)
async def test_what_is_done_to_what_there_is_not_finds_nothing(client, method, path, text):
    answer = await client(method, path)
    assert (answer.status, answer.message) == (404, text)


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/v1.50/containers/create?name=x", "no containers"),
        ("POST", "/images/create?fromImage=busybox", "no containers"),
        ("POST", "/volumes/create", "no volumes"),
        ("GET", "/services/web/logs?stdout=1", "no logs"),
    ],
)
async def test_what_secretfs_does_not_do_is_said(client, method, path, word):
    answer = await client(method, path)
    assert answer.status == 501
    assert word in answer.message
