"""The Docker routes of secrets, with the texts of a real engine (docker-secrets-behaviour.md, sections 1 to 5)."""

import base64
import json
import os
import urllib.parse

import pytest

from secretfs.control import audit
from secretfs.errors import InvalidGrantError

RPC = "rpc error: code = InvalidArgument desc = "
NAME_RULE = (
    f"{RPC}invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
)
SIZE_RULE = f"{RPC}secret data must be larger than 0 and less than 512000 bytes"
MAX_BYTES = 511_999
GO = "invalid JSON: json: cannot unmarshal"
VALUE = "czNjcmV0LXZhbHVl"  # s3cret-value


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def quoted(filters: object) -> str:
    return urllib.parse.quote(json.dumps(filters))


async def test_a_secret_is_created_shown_listed_and_removed(client):
    created = await client("POST", "/v1.50/secrets/create", {"Name": "db", "Labels": {"a": "b"}, "Data": VALUE})
    assert created.status == 201
    object_id = created.json["ID"]
    shown = await client("GET", "/secrets/DB")
    assert shown.json == {
        "ID": object_id,
        "Version": {"Index": shown.json["Version"]["Index"]},
        "CreatedAt": shown.json["CreatedAt"],
        "UpdatedAt": shown.json["CreatedAt"],
        "Spec": {"Name": "db", "Labels": {"a": "b"}},
    }
    assert (await client("GET", "/v1.24/secrets")).json == [shown.json]
    removed = await client("DELETE", f"/secrets/{object_id[:10]}")
    assert (removed.status, removed.body) == (204, b"")
    assert (await client("GET", "/secrets")).body == b"[]\n"


async def test_no_answer_and_no_log_holds_a_value(client, capfd):
    await client("POST", "/secrets/create", {"Name": "db", "Data": VALUE})
    for body in (
        {"Name": "db", "Data": VALUE},
        {"Name": "", "Data": VALUE},
        {"Name": [VALUE], "Data": VALUE},
        {"Name": "x", "Data": VALUE + "!"},
        {"Name": "x", "Data": [VALUE]},
        {"Name": "x", "Data": VALUE, "Labels": VALUE},
        b'{"Name":"x","Data":"' + VALUE.encode(),
        b'{"Name":"x","Data":"' + VALUE.encode() + b'"}}',
    ):
        answer = await client("POST", "/secrets/create", body)
        assert answer.status in (400, 409)
        assert b"s3cret" not in answer.body
        assert VALUE.encode() not in answer.body
    for path in ("/secrets", "/secrets/db", "/secretfs/v1/audit"):
        assert VALUE.encode() not in (await client("GET", path)).body
    said = capfd.readouterr()
    assert VALUE not in said.err + said.out


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, f"{RPC}name must be provided"),
        ({"Data": VALUE}, 400, f"{RPC}name must be provided"),
        ({"Name": "a b", "Data": VALUE}, 400, NAME_RULE),
        ({"Name": "x\n", "Data": VALUE}, 400, NAME_RULE),
        ({"Name": "x" * 65, "Data": VALUE}, 400, NAME_RULE),
        ({"Name": "x"}, 400, SIZE_RULE),
        ({"Name": "x", "Data": ""}, 400, SIZE_RULE),
        ({"Name": "x", "Data": None}, 400, SIZE_RULE),
        ({"Name": "x", "Data": b64(bytes(MAX_BYTES + 1))}, 400, SIZE_RULE),
        ({"Name": "x", "Data": "YQ"}, 400, "invalid JSON: illegal base64 data at input byte 0"),
        (
            {"Name": "x", "Data": VALUE, "Labels": ["a"]},
            400,
            f"{GO} array into Go struct field SecretSpec.Labels of type map[string]string",
        ),
        (
            {"Name": "x", "Data": VALUE, "Labels": {"a": 1}},
            400,
            f"{GO} number into Go struct field SecretSpec.Labels of type string",
        ),
        (
            {"Name": 5, "Data": VALUE},
            400,
            f"{GO} number into Go struct field SecretSpec.Name of type string",
        ),
        (
            {"Name": "x", "Data": {}},
            400,
            f"{GO} object into Go struct field SecretSpec.Data of type []uint8",
        ),
        (b"", 400, "invalid JSON: got EOF while reading request body"),
        (b"[1]", 400, "invalid JSON: Expected `object`, got `array`"),
        (b"{\xff", 400, "invalid JSON: JSON is malformed: object keys must be strings (byte 1)"),
        (b'{"\xff":1}', 400, "invalid JSON: invalid UTF-8"),
        (b'{"Name":' * 100_000, 400, "invalid JSON: exceeded max depth"),
        (b'{"Labels":' + b"[" * 500 + b"]" * 500 + b"}", 400, "invalid JSON: exceeded max depth"),
        (
            {"Name": "x", "Driver": {}},
            400,
            f"{RPC}secret driver must have a name",
        ),
        (
            {"Name": "x", "Driver": {"Name": "vault"}},
            500,
            'rpc error: code = Unknown desc = plugin "vault" not found',
        ),
    ],
)
async def test_a_secret_that_cannot_be_is_refused_with_dockers_text(client, body, status, text):
    answer = await client("POST", "/secrets/create", body)
    assert (answer.status, answer.message) == (status, text)
    assert (await client("GET", "/secrets")).json == []


@pytest.mark.parametrize("kind", ["secret", "config"])
async def test_a_template_is_kept_and_given_back_and_cannot_be_granted(client, control, kind):
    body = {"Name": "x", "Data": VALUE, "templating": {"name": "golang", "Options": {"a": "b"}}}
    object_id = (await client("POST", f"/{kind}s/create", body)).json["ID"]
    found = (await client("GET", f"/{kind}s/x")).json
    assert found["Spec"]["Templating"] == {"Name": "golang", "Options": {"a": "b"}}
    rev = found["Version"]["Index"]
    assert (await client("POST", f"/{kind}s/x/update?version={rev}", {"Name": "x", "Labels": {"k": "v"}})).status == 200
    assert (await client("GET", f"/{kind}s")).json[0]["Spec"]["Templating"]["Name"] == "golang"
    word = kind.capitalize()
    file = {"Name": "x", "UID": "0", "GID": "0", "Mode": 292}
    grant = {f"{word}s": [{f"{word}ID": object_id, f"{word}Name": "x", "File": file}]}
    answer = await client("POST", "/services/create", {"Name": "web", "TaskTemplate": {"ContainerSpec": grant}})
    assert (answer.status, answer.message) == (
        400,
        f"{RPC}{kind} x is a template (golang), and secretfs renders none: create it without a template driver",
    )
    if kind == "secret":
        with pytest.raises(InvalidGrantError, match="is a template"):
            await control.attach(None, "x")


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/plain", "unsupported Content-Type header (text/plain): must be 'application/json'"),
        ("", "malformed Content-Type header (): mime: no media type"),
    ],
)
async def test_a_body_must_say_that_it_is_json(client, content_type, text):
    answer = await client("POST", "/secrets/create", {"Name": "x", "Data": VALUE}, content_type)
    assert (answer.status, answer.message) == (400, text)


@pytest.mark.parametrize("value", [b"\x00", b"\xff\n", os.urandom(MAX_BYTES)], ids=["one", "bytes", "largest"])
async def test_a_value_is_kept_as_it_is(client, control, value):
    assert (await client("POST", "/secrets/create", {"Name": "x", "Data": b64(value)})).status == 201
    attached = await control.attach(None, "x")
    assert control.fs.read(attached.task.id, "x") == value


async def test_keys_are_read_without_regard_to_case_and_unknown_ones_ignored(client):
    body = {"name": "x", "DATA": VALUE, "lAbels": {"K": "v"}, "More": 1}
    assert (await client("POST", "/secrets/create", body)).status == 201
    assert (await client("GET", "/secrets/x")).json["Spec"] == {"Name": "x", "Labels": {"K": "v"}}


async def test_a_name_is_taken_without_regard_to_case(client):
    await client("POST", "/secrets/create", {"Name": "sem_DUP", "Data": VALUE})
    answer = await client("POST", "/secrets/create", {"Name": "sem_dup", "Data": VALUE})
    assert answer.status == 409
    assert answer.message == "rpc error: code = AlreadyExists desc = secret sem_dup already exists"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("reference", ["nope", "a%20b", "%00", "%FF", "..%2f", "x" * 5000])
async def test_what_is_not_there_is_not_found_by_its_name(client, method, reference):
    answer = await client(method, f"/secrets/{reference}")
    assert answer.status == 404
    assert answer.message == f"secret {urllib.parse.unquote(reference)} not found"


async def test_a_prefix_of_several_ids_is_ambiguous(client, control):
    ids = [await control.secret(f"s{number}") for number in range(40)]
    first = ids[0][0]
    matches = sum(object_id.startswith(first) for object_id in ids)
    answer = await client("GET", f"/secrets/{first}")
    if matches > 1:
        assert answer.message == f"secret {first} is ambiguous ({matches} matches found)"
        assert answer.status == 400
    else:
        assert answer.json["ID"] == ids[0]


async def test_a_name_that_is_also_an_id_prefix_wins(client, control):
    object_id = await control.secret("one")
    named = await control.secret(object_id[:4])
    assert (await client("GET", f"/secrets/{object_id[:4]}")).json["ID"] == named


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["DbPass", "api", "db"]),
        ({"name": ["DB"]}, ["DbPass", "db"]),
        ({"name": {"db": True}}, ["DbPass", "db"]),
        ({"name": {"db": False}}, ["DbPass", "db"]),
        ({"names": ["db"]}, ["db"]),
        ({"name": ["dbp", "a"]}, ["DbPass", "api"]),
        ({"name": [""]}, ["DbPass", "api", "db"]),
        ({"label": ["env"]}, ["api", "db"]),
        ({"label": ["env="]}, ["api", "db"]),
        ({"label": ["env=prod"]}, ["db"]),
        ({"label": {"env=prod": True, "tier": True}}, []),
        ({"name": ["x"], "label": ["env"]}, []),
        ({"id": ["zzzzzzzzzzzzzzzzzzzzzzzzzzz"], "name": ["api"]}, ["api"]),
    ],
)
async def test_filters_let_through_what_docker_lets_through(client, control, filters, names):
    await control.secret("db", env="prod")
    await control.secret("api", env="test")
    await control.secret("DbPass")
    listed = (await client("GET", f"/secrets?filters={quoted(filters)}")).json
    assert sorted(secret["Spec"]["Name"] for secret in listed) == names


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        (quoted({"foo": ["x"]}), "invalid filter 'foo'"),
        ("nope", "invalid filter: 'nope' is not a map of lists or of sets"),
        (quoted({"name": "x"}), """invalid filter: '{"name": "x"}' is not a map of lists or of sets"""),
    ],
)
async def test_a_filter_that_is_none_is_refused(client, filters, text):
    answer = await client("GET", f"/secrets?filters={filters}")
    assert (answer.status, answer.message) == (400, text)


async def test_an_update_changes_labels_only(client, control):
    object_id = await control.secret("db", b"s3cret-value", a="b")
    before = (await client("GET", "/secrets/db")).json
    path = f"/secrets/{object_id}/update?version={before['Version']['Index']}"
    answer = await client("POST", path, {"Name": "db", "Labels": {"c": "d"}, "Data": VALUE})
    assert (answer.status, answer.body) == (200, b"")
    after = (await client("GET", "/secrets/db")).json
    assert after["Spec"] == {"Name": "db", "Labels": {"c": "d"}}
    assert after["CreatedAt"] == before["CreatedAt"]
    assert after["UpdatedAt"] != before["UpdatedAt"]
    assert after["Version"] != before["Version"]
    stale = await client("POST", path, {"Name": "db"})
    assert (stale.status, stale.message) == (500, "rpc error: code = Unknown desc = update out of sequence")


@pytest.mark.parametrize("body", [{"Name": "DB"}, {"Name": "db", "Data": b64(b"other")}, {}])
async def test_an_update_of_anything_else_is_refused(client, control, body):
    await control.secret("db", b"s3cret-value")
    rev = (await client("GET", "/secrets/db")).json["Version"]["Index"]
    answer = await client("POST", f"/secrets/db/update?version={rev}", body)
    assert (answer.status, answer.message) == (400, f"{RPC}only updates to Labels are allowed")


@pytest.mark.parametrize("query", ["", "?version=", "?version=x", "?version=-1", "?version=" + "9" * 30])
async def test_an_update_needs_a_version(client, control, query):
    await control.secret("db")
    answer = await client("POST", f"/secrets/db/update{query}", {"Name": "db"})
    assert (answer.status, answer.message) == (400, "invalid secret version")


async def test_every_change_is_in_the_audit_with_who_made_it(client, control):
    await client("POST", "/secrets/create", {"Name": "db", "Data": VALUE})
    rev = (await client("GET", "/secrets/db")).json["Version"]["Index"]
    await client("POST", f"/secrets/db/update?version={rev}", {"Name": "db"})
    await client("DELETE", "/secrets/db")
    await client("DELETE", "/secrets/db")
    records = await audit.records(control.store)
    assert [record.action for record in records] == ["secret create", "secret update", "secret rm"]
    assert {(record.uid, record.pid, record.name) for record in records} == {(os.getuid(), os.getpid(), "db")}
