"""The Docker routes of configs: what differs from those of secrets (docker-secrets-behaviour.md, sections 1 to 5)."""

import base64
import json
import os
import urllib.parse

import pytest

RPC = "rpc error: code = InvalidArgument desc = "
SIZE_RULE = f"{RPC}config data must be larger than 0 and less than 1024000 bytes"
MAX_BYTES = 1_023_999
DATA = "c2V0IHRpbWVvdXQgMzAK"  # set timeout 30, and a newline


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def filtered(**filters: object) -> str:
    return "/configs?filters=" + urllib.parse.quote(json.dumps(filters))


async def test_a_config_is_created_shown_with_its_data_listed_and_removed(client):
    created = await client("POST", "/v1.50/configs/create", {"Name": "conf", "Labels": {"a": "b"}, "Data": DATA})
    assert created.status == 201
    object_id = created.json["ID"]
    shown = await client("GET", "/configs/CONF")
    assert shown.json == {
        "ID": object_id,
        "Version": {"Index": shown.json["Version"]["Index"]},
        "CreatedAt": shown.json["CreatedAt"],
        "UpdatedAt": shown.json["CreatedAt"],
        "Spec": {"Name": "conf", "Labels": {"a": "b"}, "Data": DATA},
    }
    assert (await client("GET", "/v1.30/configs")).json == [shown.json]
    removed = await client("DELETE", f"/configs/{object_id[:10]}")
    assert (removed.status, removed.body) == (204, b"")
    assert (await client("GET", "/configs")).body == b"[]\n"
    assert (await client("GET", "/configs/conf")).json == {"message": "config conf not found"}


async def test_a_listing_can_leave_the_data_out(client):
    await client("POST", "/configs/create", {"Name": "conf", "Data": DATA})
    (listed,) = (await client("GET", "/configs?data=false")).json
    assert listed["Spec"] == {"Name": "conf", "Labels": {}}


async def test_secrets_and_configs_have_names_of_their_own(client):
    for noun in ("secrets", "configs"):
        assert (await client("POST", f"/{noun}/create", {"Name": "same", "Data": DATA})).status == 201
    again = await client("POST", "/configs/create", {"Name": "SAME", "Data": DATA})
    assert again.status == 409
    assert again.json["message"] == "rpc error: code = AlreadyExists desc = config SAME already exists"
    (secret,) = (await client("GET", "/secrets")).json
    assert (await client("GET", f"/configs/{secret['ID']}")).status == 404
    assert (await client("DELETE", "/configs/same")).status == 204
    assert (await client("GET", "/secrets/same")).status == 200


@pytest.mark.parametrize("value", [b"", bytes(MAX_BYTES + 1)], ids=["none", "too much"])
async def test_the_size_of_a_config_is_dockers(client, value):
    refused = await client("POST", "/configs/create", {"Name": "conf", "Data": b64(value)})
    assert (refused.status, refused.json) == (400, {"message": SIZE_RULE})


async def test_the_largest_config_comes_back_as_it_was(client):
    value = os.urandom(MAX_BYTES)
    assert (await client("POST", "/configs/create", {"Name": "conf", "Data": b64(value)})).status == 201
    assert (await client("GET", "/configs/conf")).json["Spec"]["Data"] == b64(value)


async def test_only_the_labels_of_a_config_can_be_updated(client):
    await client("POST", "/configs/create", {"Name": "conf", "Data": DATA})
    index = (await client("GET", "/configs/conf")).json["Version"]["Index"]
    refused = await client("POST", f"/configs/conf/update?version={index}", {"Name": "conf", "Data": b64(b"other")})
    assert refused.json == {"message": f"{RPC}only updates to Labels are allowed"}
    body = {"Name": "conf", "Labels": {"k": "v"}, "Data": DATA}
    assert (await client("POST", f"/configs/conf/update?version={index}", body)).status == 200
    assert (await client("GET", "/configs/conf")).json["Spec"] == {"Name": "conf", "Labels": {"k": "v"}, "Data": DATA}
    stale = await client("POST", f"/configs/conf/update?version={index}", body)
    assert (stale.status, stale.json["message"]) == (500, "rpc error: code = Unknown desc = update out of sequence")
    missing = await client("POST", "/configs/conf/update", body)
    assert (missing.status, missing.json["message"]) == (400, "invalid config version")


async def test_filters_of_configs_are_dockers(client):
    for name in ("conf", "other"):
        await client("POST", "/configs/create", {"Name": name, "Data": DATA})
    assert [found["Spec"]["Name"] for found in (await client("GET", filtered(name=["CO"]))).json] == ["conf"]
    refused = await client("GET", filtered(names=["conf"]))
    assert (refused.status, refused.json) == (400, {"message": "invalid filter 'names'"})


async def test_a_driver_means_nothing_to_a_config(client):
    body = {"Name": "conf", "Data": DATA, "Driver": {"Name": "vault"}}
    assert (await client("POST", "/configs/create", body)).status == 201


async def test_a_config_that_a_service_is_granted_stays(client):
    object_id = (await client("POST", "/configs/create", {"Name": "conf", "Data": DATA})).json["ID"]
    file = {"Name": "/etc/app.conf", "UID": "0", "GID": "0", "Mode": 292}
    container = {"Configs": [{"File": file, "ConfigID": object_id, "ConfigName": "conf"}]}
    spec = {"Name": "web", "TaskTemplate": {"ContainerSpec": container}}
    assert (await client("POST", "/services/create", spec)).status == 201
    refused = await client("DELETE", "/configs/conf")
    assert refused.status == 400
    assert refused.json["message"] == f"{RPC}config 'conf' is in use by the following service: web"
