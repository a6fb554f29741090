"""The Docker routes of services, tasks and the one node, and the native ones."""

import json
import urllib.parse

import pytest
from control_harness import leader

RPC = "rpc error: code = InvalidArgument desc = "
GO = "invalid JSON: json: cannot unmarshal"
WHERE = "ServiceSpec.TaskTemplate.ContainerSpec"


def quoted(filters: object) -> str:
    return urllib.parse.quote(json.dumps(filters))


def spec(*references: object, name: str = "web", **more: object) -> dict[str, object]:
    return {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "redis", "Secrets": list(references)}}, **more}


def reference(object_id: str, name: str, target: str = "t", **file: object) -> dict[str, object]:
    return {
        "File": {"Name": target, "UID": "0", "GID": "0", "Mode": 292, **file},
        "SecretID": object_id,
        "SecretName": name,
    }


async def created(client, *references, **more):
    answer = await client("POST", "/services/create", spec(*references, **more))
    assert answer.status == 201, answer.body
    assert answer.json["Warnings"] is None
    return answer.json["ID"]


async def updated(client, body, query=""):
    index = (await client("GET", "/services/web")).json["Version"]["Index"]
    return await client("POST", f"/services/web/update?version={index}{query}", body)


async def test_a_spec_comes_back_whole_with_the_engines_defaults(client, control):
    object_id = await control.secret("db")
    sent = {
        "name": "web",
        "Labels": {"a": "b"},
        "taskTemplate": {
            "containerSpec": {"Image": "redis", "Env": ["X=1"], "secrets": [reference(object_id, "db", UID="root")]},
            "Placement": {"Constraints": ["x"]},
        },
        "Mode": {"Replicated": {}},
        "EndpointSpec": {"Mode": "vip"},
    }
    service_id = (await client("POST", "/services/create", sent)).json["ID"]
    shown = (await client("GET", f"/services/{service_id}?insertDefaults=false")).json
    assert shown["Spec"] == {
        "Name": "web",
        "Labels": {"a": "b"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "redis",
                "Env": ["X=1"],
                "Secrets": [reference(object_id, "db")],
                "Isolation": "default",
            },
            "Placement": {"Constraints": ["x"]},
            "Runtime": "container",
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "vip"},
    }
    assert shown["UpdateStatus"]["State"] == "completed"
    assert "PreviousSpec" not in shown


async def test_a_service_without_a_name_gets_one(client):
    body = {"TaskTemplate": {"ContainerSpec": {}}}
    service_id = (await client("POST", "/services/create", body)).json["ID"]
    name = (await client("GET", f"/services/{service_id}")).json["Spec"]["Name"]
    adjective, _, surname = name.partition("_")
    assert adjective.isalpha()
    assert surname.isalpha()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "mismatched Runtime and *Spec fields"),
        ({"Name": "x", "TaskTemplate": {}}, 400, "mismatched Runtime and *Spec fields"),
        ({"Name": "x", "TaskTemplate": {"PluginSpec": {}}}, 400, "mismatched Runtime and *Spec fields"),
        (spec(name="-x"), 400, f"{RPC}name must be valid as a DNS name component"),
        (spec(name="x" * 64), 400, f"{RPC}name must be 63 characters or fewer"),
        (spec({"SecretName": "db"}), 400, f"{RPC}malformed secret reference"),
        (
            spec({"SecretName": "db", "SecretID": "x"}),
            400,
            f"{RPC}malformed secret reference, no target provided",
        ),
        (
            spec(reference("ID", "db", "")),
            400,
            f"{RPC}malformed file secret reference, invalid target file name provided",
        ),
        (spec(reference("x" * 25, "db")), 400, f"{RPC}secret not found: db"),
        (spec(reference("ID", "DB")), 400, f"{RPC}secret not found: DB"),
        (spec(reference("PREFIX", "db")), 400, f"{RPC}secret not found: db"),
        (spec(reference("ID", "db", "../up")), 400, f"{RPC}invalid target '../up': '..' is not allowed"),
        (
            spec(reference("ID", "db"), reference("ID", "db")),
            400,
            f"{RPC}secret references 'db' and 'db' have a conflicting target: 't'",
        ),
        (
            spec(reference("ID", "db", UID="nobody-here")),
            400,
            f"{RPC}unknown user 'nobody-here': this host has none of that name",
        ),
        (
            spec(reference("ID", "db", GID="a\0b")),
            400,
            f"{RPC}unknown group 'a\\x00b': this host has none of that name",
        ),
        (
            spec(reference("ID", "db", UID="99999999999")),
            400,
            f"{RPC}invalid uid or gid specified: '99999999999' is not in 0..4294967294",
        ),
        (
            spec(reference("ID", "db", Mode=-1)),
            400,
            f"{GO} number -1 into Go struct field {WHERE}.Secrets.File.Mode of type fs.FileMode",
        ),
        (
            spec(reference("ID", "db", Mode="0440")),
            400,
            f"{GO} string into Go struct field {WHERE}.Secrets.File.Mode of type fs.FileMode",
        ),
        (
            spec(reference("ID", "db", UID=5)),
            400,
            f"{GO} number into Go struct field {WHERE}.Secrets.File.UID of type string",
        ),
        (spec("db"), 400, f"{GO} string into Go struct field {WHERE}.Secrets of type object"),
        (
            {"Name": "x", "TaskTemplate": {"ContainerSpec": {"Secrets": {}}}},
            400,
            f"{GO} object into Go struct field {WHERE}.Secrets of type []*swarm.SecretReference",
        ),
        (spec(Labels=[1]), 400, f"{GO} array into Go struct field ServiceSpec.Labels of type map[string]string"),
        (spec(Mode=5), 400, f"{GO} number into Go struct field ServiceSpec.Mode of type object"),
    ],
)
async def test_a_service_that_cannot_be_is_refused_with_dockers_text(client, control, body, status, text):
    object_id = await control.secret("db")
    data = json.dumps(body).replace('"ID"', f'"{object_id}"').replace('"PREFIX"', f'"{object_id[:9]}"').encode()
    answer = await client("POST", "/services/create", data)
    assert (answer.status, answer.message) == (status, text)
    assert (await client("GET", "/services")).json == []
    assert (await client("DELETE", "/secrets/db")).status == 204


async def test_a_service_name_is_taken_without_regard_to_case(client):
    await created(client)
    answer = await client("POST", "/services/create", spec(name="WEB"))
    assert answer.status == 409
    assert answer.message == (
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service WEB already exists"
    )


async def test_an_update_keeps_the_previous_spec_and_a_rollback_swaps_the_two(client, control):
    one, two = await control.secret("one"), await control.secret("two")
    service_id = await created(client, reference(one, "one"))
    without = await updated(client, {}, "&rollback=previous")
    assert without.status == 400
    assert without.message == (
        f"rpc error: code = FailedPrecondition desc = service {service_id} does not have a previous spec"
    )
    assert (await updated(client, spec(reference(two, "two"), Labels={"new": "1"}))).json == {"Warnings": None}
    shown = (await client("GET", "/services/web")).json
    assert shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"] == [reference(two, "two")]
    assert shown["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]["Secrets"] == [reference(one, "one")]
    assert (await updated(client, shown["Spec"], "&rollback=previous")).status == 200
    back = (await client("GET", "/services/web")).json
    assert (back["Spec"], back["PreviousSpec"]) == (shown["PreviousSpec"], shown["Spec"])
    assert (await control.services.inspect("web")).value.labels == {}


async def test_a_rollback_to_a_secret_that_is_gone_is_refused(client, control):
    one = await control.secret("one")
    await created(client, reference(one, "one"))
    await updated(client, spec())
    assert (await client("DELETE", "/secrets/one")).status == 204
    answer = await updated(client, {}, "&rollback=previous")
    assert (answer.status, answer.message) == (400, f"{RPC}secret not found: one")


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        (
            "/services/web/update",
            spec(),
            400,
            "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        (
            "/services/web/update?version=x1",
            spec(),
            400,
            "invalid service version 'x1': strconv.ParseUint: parsing \"x1\": invalid syntax",
        ),
        ("/services/web/update?version=0", spec(), 500, "rpc error: code = Unknown desc = update out of sequence"),
        ("/services/nope/update?version=0", spec(), 404, "service nope not found"),
        (
            "/services/web/update?version=CURRENT",
            spec(name="other"),
            501,
            "rpc error: code = Unimplemented desc = renaming services is not supported",
        ),
    ],
)
async def test_an_update_that_cannot_be_is_refused_with_dockers_text(client, path, body, status, text):
    await created(client)
    index = (await client("GET", "/services/web")).json["Version"]["Index"]
    answer = await client("POST", path.replace("CURRENT", str(index)), body)
    assert (answer.status, answer.message) == (status, text)


async def test_a_service_is_removed_with_200_and_nothing(client):
    await created(client)
    answer = await client("DELETE", "/services/web")
    assert (answer.status, answer.body) == (200, b"")
    assert (await client("DELETE", "/services/web")).message == "service web not found"


async def test_a_secret_in_use_is_not_removed_and_all_users_are_named(client, control):
    object_id = await control.secret("db")
    await created(client, reference(object_id, "db"))
    answer = await client("DELETE", "/secrets/db")
    assert (answer.status, answer.message) == (400, f"{RPC}secret 'db' is in use by the following service: web")
    await created(client, reference(object_id, "db"), name="api")
    answer = await client("DELETE", "/secrets/db")
    assert answer.message == f"{RPC}secret 'db' is in use by the following services: web, api"
    attached = await control.attach(None, "db")
    answer = await client("DELETE", "/secrets/db")
    assert answer.message == (
        f"{RPC}secret 'db' is in use by the following services: web, api and task: {attached.task.id}"
    )


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"name": ["W"]}, ["web"]),
        ({"label": ["a=1"]}, ["web"]),
        ({"mode": ["global"]}, ["everywhere"]),
        ({"mode": ["replicated", "global"]}, ["everywhere", "web"]),
        ({"runtime": ["container"]}, ["everywhere", "web"]),
        ({"runtime": ["plugin"]}, []),
        ({"id": ["!"]}, []),
    ],
)
async def test_service_filters(client, filters, names):
    await created(client, Labels={"a": "1"})
    await created(client, name="everywhere", Mode={"Global": {}})
    listed = (await client("GET", f"/services?filters={quoted(filters)}")).json
    assert sorted(service["Spec"]["Name"] for service in listed) == names


async def test_tasks_of_a_service_are_listed_with_pid_state_and_slot(client, control):
    object_id = await control.secret("db")
    service_id = await created(client, reference(object_id, "db"), Labels={"stack": "s"})
    first, second = [(await control.attach("web")).task for _ in range(2)]
    await control.attach(None, "db")
    await control.tasks.running(first.id, 5)
    tasks = (await client("GET", "/tasks")).json
    assert [task["ID"] for task in tasks] == [first.id, second.id]
    assert [task["Slot"] for task in tasks] == [1, 2]
    assert tasks[0]["ServiceID"] == service_id
    assert tasks[0]["Status"]["State"] == "running"
    assert tasks[0]["Status"]["ContainerStatus"]["PID"] == leader().pid
    assert tasks[0]["Spec"]["ContainerSpec"]["Image"] == "redis"
    assert (await client("GET", f"/tasks/{first.id}")).json == tasks[0]
    nodes = (await client("GET", "/nodes")).json
    assert [node["ID"] for node in nodes] == [tasks[0]["NodeID"]]
    assert (await client("GET", f"/nodes/{nodes[0]['ID']}")).json == nodes[0]
    listed = (await client("GET", "/services?status=true")).json
    assert listed[0]["ServiceStatus"] == {"RunningTasks": 1, "DesiredTasks": 1, "CompletedTasks": 0}
    for filters, number in (
        ({"service": {service_id: True}, "_up-to-date": {"true": True}}, 2),
        ({"service": {service_id[:5]: True}}, 2),
        ({"service": ["WEB"]}, 2),
        ({"service": ["other"]}, 0),
        ({"label": ["stack=s"]}, 2),
        ({"label": ["stack=t"]}, 0),
        ({"name": ["web.2"]}, 1),
        ({"id": [second.id]}, 1),
        ({"node": [nodes[0]["ID"]]}, 2),
        ({"node": ["other"]}, 0),
        ({"desired-state": ["running"]}, 2),
        ({"desired-state": ["shutdown"]}, 0),
    ):
        assert len((await client("GET", f"/tasks?filters={quoted(filters)}")).json) == number, filters


async def test_a_task_keeps_its_number_and_the_next_gets_one_that_is_free(client, control):
    await created(client)
    first, second = [(await control.attach("web")).task.id for _ in range(2)]

    async def slots():
        return {task["ID"]: task["Slot"] for task in (await client("GET", "/tasks")).json}

    assert await slots() == {first: 1, second: 2}
    await control.tasks.detach(first, "ended")
    assert await slots() == {second: 2}
    third, fourth = [(await control.attach("web")).task.id for _ in range(2)]
    assert await slots() == {second: 2, third: 1, fourth: 3}


async def test_a_desired_state_that_is_none_is_refused(client):
    answer = await client("GET", f"/tasks?filters={quoted({'desired-state': ['bogus']})}")
    assert (answer.status, answer.message) == (400, "invalid desired-state filter: 'bogus'")


async def test_the_native_api_lists_all_tasks_with_what_they_show(client, control):
    object_id = await control.secret("db")
    await control.secret("key")
    service_id = await created(client, reference(object_id, "db", "sub/x", UID="5", GID="6", Mode=0o4440))
    attached = await control.attach("web", "key")
    [task] = (await client("GET", "/secretfs/v1/tasks")).json
    assert task == {
        "Lacking": 0,
        "ID": attached.task.id,
        "Service": "web",
        "ServiceID": service_id,
        "PID": leader().pid,
        "Since": task["Since"],
        "State": "starting",
        "TargetDir": "/run/secrets",
        "Grants": [
            {
                "Kind": "secret",
                "Name": "db",
                "ID": object_id,
                "Version": 1,
                "Target": "sub/x",
                "UID": 5,
                "GID": 6,
                "Mode": 0o4440,
            },
            task["Grants"][1] | {"Name": "key", "Target": "key", "Mode": 0o444},
        ],
    }


async def test_a_task_is_detached_by_its_id_or_a_prefix_of_it(client, control):
    await control.secret("db")
    attached = await control.attach(None, "db")
    answer = await client("DELETE", f"/secretfs/v1/tasks/{attached.task.id[:12]}")
    assert (answer.status, answer.body) == (204, b"")
    assert control.fs.trees == {}
    answer = await client("DELETE", f"/secretfs/v1/tasks/{attached.task.id}")
    assert (answer.status, answer.message) == (404, f"task {attached.task.id} not found")


async def test_the_audit_tells_what_happened_oldest_first(client, control):
    object_id = await control.secret("db")
    await created(client, reference(object_id, "db"))
    attached = await control.attach("web")
    await control.tasks.running(attached.task.id, 5)
    await client("DELETE", "/services/web")
    records = (await client("GET", "/secretfs/v1/audit")).json
    assert [record["Action"] for record in records] == [
        "secret create",
        "service create",
        "task attach",
        "task start",
        "service rm",
        "task detach",
    ]
    assert records[0] | {"Time": "", "UID": 0, "PID": 0} == {
        "Time": "",
        "Action": "secret create",
        "Kind": "secret",
        "ID": object_id,
        "Name": "db",
        "UID": 0,
        "PID": 0,
        "Detail": {"Version": 1},
        "Number": 0,
    }
    assert records[-1]["Detail"] == {
        "State": "shutdown",
        "PID": leader().pid,
        "Reason": "its service was removed",
    }


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.41", "/v1.50"])
async def test_ping_version_and_info_answer_with_and_without_a_version(client, prefix):
    head = await client("HEAD", f"{prefix}/_ping")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["api-version"] == "1.50"
    assert head.headers["ostype"] == "linux"
    assert head.headers["swarm"] == "active/manager"
    assert (await client("GET", f"{prefix}/_ping")).body == b"OK"
    assert (await client("GET", f"{prefix}/version")).json["ApiVersion"] == "1.50"
    assert (await client("GET", f"{prefix}/info")).json["Swarm"]["ControlAvailable"] is True


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/v1.51/secrets", "client version 1.51 is too new. Maximum supported API version is 1.50"),
        ("/v2.0/secrets", "client version 2.0 is too new. Maximum supported API version is 1.50"),
        (
            "/v1.11/secrets",
            (
                "client version 1.11 is too old. Minimum supported API version is 1.24, "
                "please upgrade your client to a newer version"
            ),
        ),
    ],
)
async def test_a_version_that_is_not_served_is_refused(client, path, text):
    answer = await client("GET", path)
    assert (answer.status, answer.message) == (400, text)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nope"),
        ("GET", "/v1.50"),
        ("GET", "/v1.50/nope"),
        ("GET", "//secrets"),
        ("GET", "/secrets/"),
        ("GET", "/secrets/a/b/c"),
        ("PUT", "/secrets"),
        ("PATCH", "/secrets/x"),
        ("OPTIONS", "*"),
        ("GET", "http://x/secrets"),
        ("CONNECT", "x:1"),
    ],
)
async def test_an_unknown_route_is_a_page_not_found(client, method, path):
    answer = await client(method, path)
    assert (answer.status, answer.message) == (404, "page not found")


async def test_all_that_is_missing_is_said_at_once_and_an_empty_list_is_nothing(client, control):
    object_id = await control.secret("db")
    missing = [reference("x" * 25, name, name) for name in ("a", "b")]
    answer = await client("POST", "/services/create", spec(reference(object_id, "db"), *missing))
    text = "rpc error: code = InvalidArgument desc = secrets not found: a, b"
    assert (answer.status, answer.message) == (400, text)
    empty = {"Image": "x", "Secrets": [], "Configs": []}
    await client("POST", "/services/create", {"Name": "web", "TaskTemplate": {"ContainerSpec": empty}})
    found = (await client("GET", "/services/web")).json["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert found == {"Image": "x", "Isolation": "default"}


async def test_defaults_are_inserted_when_they_are_asked_for(client):
    spec = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "x"}}, "EndpointSpec": {}}
    await client("POST", "/services/create", spec)
    plain = (await client("GET", "/services/web?insertDefaults=false")).json["Spec"]
    assert "UpdateConfig" not in plain
    assert plain["EndpointSpec"] == {"Mode": "vip"}
    full = (await client("GET", "/services/web?insertDefaults=true")).json["Spec"]
    assert full["UpdateConfig"]["Parallelism"] == full["RollbackConfig"]["Parallelism"] == 1
    task = full["TaskTemplate"]
    assert (task["RestartPolicy"]["Condition"], task["Placement"]) == ("any", {})
    assert task["ContainerSpec"] == {
        "Image": "x",
        "Isolation": "default",
        "StopGracePeriod": 10_000_000_000,
        "DNSConfig": {},
    }
