"""What a service has beside Docker's spec: it comes back, and stays when docker's clients write the spec without it."""

import pytest

BESIDE = {
    "AllowUIDs": [7, 1000],
    "AllowGIDs": [27],
    "OnChange": "signal:HUP",
    "Pins": [{"Kind": "secret", "Target": "pinned", "Version": 1}],
}


def spec(object_id: str, *targets: str, **more: object) -> dict[str, object]:
    file = {"UID": "0", "GID": "0", "Mode": 292}
    secrets = [{"File": {"Name": name, **file}, "SecretID": object_id, "SecretName": "db"} for name in targets]
    return {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Secrets": secrets}}, **more}


async def inspected(client):
    return (await client("GET", "/services/web")).json


async def updated(client, body, query=""):
    index = (await inspected(client))["Version"]["Index"]
    answer = await client("POST", f"/services/web/update?version={index}{query}", body)
    assert answer.status == 200, answer.body


async def beside(client) -> object:
    return (await inspected(client))["Spec"].get("Secretfs")


async def test_it_comes_back_sorted_and_is_not_in_a_service_without_it(client, control):
    object_id = await control.secret("db")
    given = {"allowuids": [1000, 7, 7]} | {key: BESIDE[key] for key in ("AllowGIDs", "OnChange", "Pins")}
    sent = spec(object_id, "pinned", "free", secretfs=given)
    await client("POST", "/services/create", sent)
    assert await beside(client) == BESIDE
    await client("DELETE", "/services/web")
    await client("POST", "/services/create", spec(object_id, "pinned"))
    assert await beside(client) is None


async def test_an_update_that_does_not_know_of_it_keeps_it_for_the_grants_that_stay(client, control):
    object_id = await control.secret("db")
    await client("POST", "/services/create", spec(object_id, "pinned", "free", Secretfs=BESIDE))
    await updated(client, spec(object_id, "pinned"))
    assert await beside(client) == BESIDE
    await updated(client, spec(object_id, "elsewhere"))
    assert await beside(client) == BESIDE | {"Pins": []}


async def test_a_rollback_brings_it_back(client, control):
    object_id = await control.secret("db")
    await client("POST", "/services/create", spec(object_id, "pinned", Secretfs=BESIDE))
    await updated(client, spec(object_id, "pinned", Secretfs={}))
    shown = await inspected(client)
    assert (shown["Spec"].get("Secretfs"), shown["PreviousSpec"]["Secretfs"]) == (None, BESIDE)
    await updated(client, {}, "&rollback=previous")
    assert await beside(client) == BESIDE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "invalid JSON: json: cannot unmarshal string into Go struct field ServiceSpec.Secretfs of type object"),
        (
            {"AllowUIDs": [-1]},
            (
                "invalid JSON: json: cannot unmarshal number -1 into Go struct field ServiceSpec.Secretfs.AllowUIDs of "
                "type uint32"
            ),
        ),
        (
            {"AllowUIDs": [0]},
            (
                "rpc error: code = InvalidArgument desc = uid 0 cannot be allowed: root of this host needs no leave, "
                "and no other gets it"
            ),
        ),
        (
            {"Pins": [7]},
            "invalid JSON: json: cannot unmarshal number into Go struct field ServiceSpec.Secretfs.Pins of type object",
        ),
        ({"Pins": [{"Kind": "x", "Target": "t"}]}, "invalid kind 'x' of a pin: it is secret or config"),
        (
            {"Pins": [BESIDE["Pins"][0]] * 2},
            "rpc error: code = InvalidArgument desc = secret target 'pinned' has two versions",
        ),
        (
            {"Pins": [{"Kind": "secret", "Target": "pinned", "Version": 7}]},
            "rpc error: code = InvalidArgument desc = secret db has no version 7: the newest is 1",
        ),
        (
            {"Pins": [{"Kind": "config", "Target": "pinned", "Version": 1}]},
            (
                "rpc error: code = InvalidArgument desc = config target 'pinned' cannot have a version: nothing is "
                "granted there"
            ),
        ),
    ],
)
async def test_what_it_cannot_be_is_refused_and_nothing_is_kept(client, control, value, text):
    object_id = await control.secret("db")
    answer = await client("POST", "/services/create", spec(object_id, "pinned", Secretfs=value))
    assert (answer.status, answer.json["message"]) == (400, text)
    assert (await client("GET", "/services")).json == []


async def test_the_audit_says_to_whom_what_is_granted_and_what_is_run(client, control):
    object_id = await control.secret("db")
    body = spec(object_id, "pinned", "free", Secretfs=BESIDE)
    body["TaskTemplate"]["ContainerSpec"]["Secrets"][1]["File"] = {"Name": "free", "UID": "5", "GID": "6", "Mode": 256}
    await client("POST", "/services/create", body)
    await updated(client, spec(object_id, "free", Secretfs={}))
    records = (await client("GET", "/secretfs/v1/audit")).json
    assert [(record["Action"], record["Detail"]) for record in records[1:]] == [
        (
            "service create",
            {
                "Grants": ["db:pinned:0:0:0444@1", "db:free:5:6:0400"],
                "AllowUIDs": [7, 1000],
                "AllowGIDs": [27],
                "OnChange": "signal:HUP",
            },
        ),
        ("service update", {"Grants": ["db:free:0:0:0444"]}),
    ]
