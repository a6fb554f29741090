"""Versions through the use cases and the API: in a race, in a full arena, with damaged records, after a restart."""

import base64

import pytest
import trio
from control_harness import ME, Client, Control
from trio.testing import wait_all_tasks_blocked

from secretfs.control import audit
from secretfs.control.usecases import versions
from secretfs.control.usecases.versions import Revision
from secretfs.core.names import Kind
from secretfs.core.plan import VersionRef
from secretfs.core.versions import draining
from secretfs.errors import ArenaFullError, CorruptRecordError, InvalidArgumentError, PreconditionError
from secretfs.store.base import Put

AT_ONCE = 8


async def update(control: Control, value: bytes, *, drain_ms: int = 30_000, name: str = "db", **labels: str):
    return await control.versions.update(ME, Revision(Kind.SECRET, name, drain_ms, labels), bytearray(value))


def data(value: bytes) -> str:
    return base64.b64encode(value).decode()


async def test_of_many_updates_at_once_each_becomes_a_version_in_order(control: Control) -> None:
    secret = await control.secret("db", b"0")
    task = (await control.attach(None, "db")).task.id
    numbers: dict[int, bytes] = {}

    async def one(value: bytes) -> None:
        numbers[(await update(control, value)).number] = value

    async with trio.open_nursery() as nursery:
        for number in range(AT_ONCE):
            nursery.start_soon(one, f"value {number}".encode())
    assert sorted(numbers) == list(range(2, AT_ONCE + 2))
    for number, value in numbers.items():
        assert await control.values.opened(VersionRef(secret, number)) == value
    assert control.fs.read(task, "db") == numbers[AT_ONCE + 1]


async def test_an_update_that_the_arena_has_no_room_for_is_done_with_a_warning_and_shown_later(
    control: Control, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    monkeypatch.setattr("secretfs.control.trees.RETRY_SECONDS", 0.01)
    await control.secret("db", b"old")
    task = (await control.attach(None, "db")).task.id
    control.fs.failure = ArenaFullError("the arena is full")
    revised = await update(control, b"new")
    assert revised.number == 2
    assert revised.warnings == (f"task {task} still reads the version before: the arena is full",)
    [shown] = await control.tasks.shown()
    assert [entry.content.number for _, entry in shown.files] == [1], "ps tells what it reads"
    assert control.fs.read(task, "db") == b"old"
    assert [use.safe for use in await control.versions.listed(Kind.SECRET, "db")] == [False, False]
    assert (await control.versions.prune(ME, Kind.SECRET, "db", 1)).removed == ()
    control.fs.failure = None
    nursery.start_soon(control.trees.keep_up, control.fs)
    with trio.fail_after(5):
        while control.fs.read(task, "db") != b"new":
            await trio.lowlevel.checkpoint()


async def test_a_tree_that_fs_refuses_a_new_control_is_shown_later(
    control: Control, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """The arena was full at an update; control was killed, and its successor's first words were refused as well."""
    monkeypatch.setattr("secretfs.control.trees.RETRY_SECONDS", 0.01)
    await control.secret("db", b"old")
    task = (await control.attach(None, "db")).task.id
    control.fs.failure = ArenaFullError("the arena is full")
    await update(control, b"new")
    again = control.again()
    await again.trees.load()
    again.trees.refused(task)
    [shown] = await again.tasks.shown()
    assert shown.files == (), "it is not known"
    control.fs.failure = None
    nursery.start_soon(again.trees.keep_up, again.fs)
    with trio.fail_after(5):
        while again.fs.read(task, "db") != b"new":
            await trio.lowlevel.checkpoint()


async def test_a_task_that_attaches_during_an_update_shows_the_new_version(control: Control) -> None:
    """Its tree was computed from what the store said before, and was not known to the update."""
    await control.secret("db", b"old")
    control.fs.stalled = trio.Event()
    attached = []

    async def attach() -> None:
        attached.append((await control.attach(None, "db")).task.id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attach)
        await wait_all_tasks_blocked()
        nursery.start_soon(update, control, b"new")
        await wait_all_tasks_blocked()
        control.fs.stalled.set()
    assert control.fs.read(attached[0], "db") == b"new"


async def test_a_newest_version_that_is_damaged_is_mended_by_an_update(control: Control) -> None:
    secret = await control.secret("db", b"old")
    await control.store.commit([], [Put(f"value/{secret}/1/data", b"not what was sealed")])
    revised = await update(control, b"old")
    assert (revised.number, revised.unchanged) == (2, False)
    assert await control.values.opened(VersionRef(secret, 2)) == b"old"


async def test_labels_are_added_to_those_that_are_there(control: Control) -> None:
    await control.secret("db", b"old", a="1", b="2")
    await update(control, b"old", b="3")
    await update(control, b"new", c="4")
    secret = (await control.secrets.inspect(Kind.SECRET, "db")).value
    assert (secret.labels, secret.newest.number) == ({"a": "1", "b": "3", "c": "4"}, 2)


async def test_there_is_an_end_to_versions_and_prune_makes_room(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "MAX_VERSIONS", 2)
    await control.secret("db", b"1")
    await update(control, b"2")
    with pytest.raises(
        PreconditionError, match="has 2 versions, which is the most: remove old ones with 'secretfs sec"
    ):
        await update(control, b"3")
    assert (await control.versions.prune(ME, Kind.SECRET, "db", 1)).removed == (1,)
    assert (await update(control, b"3")).number == 3


async def test_nothing_is_pruned_while_a_service_cannot_be_read(control: Control) -> None:
    await control.secret("db", b"1")
    await update(control, b"2")
    service = await control.service("web", "db")
    await control.store.commit([], [Put(f"service/{service}", b"{")])
    with pytest.raises(CorruptRecordError, match=f"service/{service}"):
        await control.versions.prune(ME, Kind.SECRET, "db", 1)


async def test_what_drains_is_held_also_after_a_restart_of_control(control: Control) -> None:
    await control.secret("db", b"1")
    task = (await control.attach(None, "db")).task.id
    await update(control, b"2")
    for one in (control, control.again()):
        await one.trees.load()
        first, _ = await one.versions.listed(Kind.SECRET, "db")
        assert ([held.task for held in first.draining], first.safe) == ([task], False)
        assert first.reasons == (f"task {task} may have it open",)
    await update(control, b"3", drain_ms=0)
    assert [use.safe for use in await control.versions.listed(Kind.SECRET, "db")] == [True, True, False]


@pytest.mark.parametrize(("since_s", "expected"), [(0, {1: 22, 2: 22}), (15, {2: 22}), (25, {})])
async def test_no_version_drains_for_longer_than_a_later_one_allows(control: Control, since_s, expected) -> None:
    await control.secret("db", b"1")
    for value in (b"2", b"3"):
        await update(control, value)
    secret = (await control.secrets.inspect(Kind.SECRET, "db")).value
    times = [(0, 30_000), (10, 30_000), (20, 2_000)]
    dated = tuple(
        type(version)(version.number, second * 10**9, 1, drain)
        for version, (second, drain) in zip(secret.versions, times, strict=True)
    )
    secret = type(secret)(secret.kind, secret.id, secret.name, {}, 0, 0, dated)
    found = draining(secret, 3, since_s * 10**9)
    assert {number: until // 10**9 for number, until in found} == expected


async def test_every_act_has_its_record_and_no_act_has_none(control: Control) -> None:
    await control.secret("db", b"1")
    await update(control, b"2", drain_ms=1500)
    await update(control, b"2")
    await control.versions.rollback(ME, Revision(Kind.SECRET, "db", 30_000, {}), 1)
    await control.versions.prune(ME, Kind.SECRET, "db", 1)
    await control.versions.prune(ME, Kind.SECRET, "db", 1)
    assert [(record.action, record.detail) for record in await audit.records(control.store)][1:] == [
        ("secret update", {"Version": 2, "Drain": 1.5}),
        ("secret rollback", {"Version": 3, "From": 1, "Drain": 30.0}),
        ("secret prune", {"Removed": [1, 2]}),
    ]


@pytest.mark.parametrize("drain_ms", [-1, 24 * 3_600_000 + 1])
async def test_a_drain_that_cannot_be_is_refused_before_anything_changes(control: Control, drain_ms: int) -> None:
    await control.secret("db", b"1")
    with pytest.raises(InvalidArgumentError, match="invalid drain: it must be from 0 to 24 hours"):
        await update(control, b"2", drain_ms=drain_ms)
    assert (await control.secrets.inspect(Kind.SECRET, "db")).value.newest.number == 1


async def test_the_api_updates_shows_rolls_back_and_prunes(control: Control, client: Client) -> None:
    await control.secret("db", b"1")
    before = (await client("GET", "/secrets/db")).json["Version"]["Index"]
    made = await client("POST", "/secretfs/v1/secrets/db/versions", {"Data": data(b"2"), "Drain": 0.25})
    assert (made.status, made.json["Version"], made.json["Unchanged"], made.json["Warnings"]) == (201, 2, False, [])
    again = await client("POST", "/secretfs/v1/secrets/DB/versions", {"Data": data(b"2")})
    assert (again.status, again.json["Version"], again.json["Unchanged"]) == (200, 2, True)
    assert (await client("GET", "/secrets/db")).json["Version"]["Index"] > before
    shown = (await client("GET", "/secretfs/v1/secrets/db/versions")).json
    assert [(one["Version"], one["Size"], one["Newest"], one["Safe"]) for one in shown] == [
        (1, 1, False, True),
        (2, 1, True, False),
    ]
    assert (await client("POST", "/secretfs/v1/secrets/db/rollback", {"Version": 1})).json["Version"] == 3
    pruned = (await client("POST", "/secretfs/v1/secrets/db/prune", {"Keep": 1})).json
    assert pruned == {"Removed": [1, 2], "Kept": [{"Version": 3, "Reasons": ["it is the newest"]}]}
    assert (await client("GET", "/secretfs/v1/configs/db/versions")).status == 404


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("versions", {}, "secret data must be larger than 0 and less than 512000 bytes"),
        ("versions", {"Data": data(bytes(512_000))}, "secret data must be larger than 0 and less than 512000 bytes"),
        ("versions", {"Data": [1]}, "cannot unmarshal array into Go struct field SecretVersion.Data of type []uint8"),
        ("versions", {"Data": "?"}, "illegal base64 data at input byte 0"),
        ("versions", {"Data": data(b"2"), "Drain": "30s"}, "cannot unmarshal string into Go struct field"),
        ("versions", {"Data": data(b"2"), "Drain": True}, "cannot unmarshal bool into Go struct field"),
        ("versions", {"Data": data(b"2"), "Drain": -1}, "invalid drain: -1 is no number of seconds"),
        ("versions", {"Data": data(b"2"), "Drain": 90_000}, "invalid drain: it must be from 0 to 24 hours"),
        ("versions", b'{"Data":"Mg==","Drain":1e400}', "invalid"),
        ("rollback", {}, "secret db has no version 0"),
        ("rollback", {"Version": 7}, "secret db has no version 7"),
        ("prune", {}, "invalid number of versions to keep: it must be 1 or more"),
        ("prune", {"Keep": -1}, "cannot unmarshal number -1 into Go struct field SecretVersion.Keep of type uint32"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_changes(
    control: Control, client: Client, path: str, body: object, text: str
) -> None:
    await control.secret("db", b"1")
    answer = await client("POST", f"/secretfs/v1/secrets/db/{path}", body)
    assert 400 <= answer.status < 500
    assert text in answer.message
    assert (await control.secrets.inspect(Kind.SECRET, "db")).value.newest.number == 1
