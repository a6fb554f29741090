"""A damaged record is named, nothing is served from it, everything else goes on. A full disk changes nothing."""

import base64
import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from control_harness import Client, control_of

from secretfs.control import audit
from secretfs.core.names import Kind
from secretfs.core.plan import VersionRef
from secretfs.crypto.keyring import Keyring
from secretfs.errors import CorruptRecordError
from secretfs.store.base import Put
from secretfs.store.sqlite import opened


def flip(path: Path, key: str) -> None:
    """Change a byte of the record's value behind the store's back."""
    with closing(sqlite3.connect(path)) as database, database:
        [(value,)] = database.execute("SELECT value FROM record WHERE key = ?", (key.encode(),))
        changed = bytes([value[0] ^ 4, *value[1:]])
        database.execute("UPDATE record SET value = ? WHERE key = ?", (changed, key.encode()))


@pytest.fixture(params=["changed bytes", "not what is written there"])
def damaged(request, tmp_path, control):
    async def damage(key: str) -> None:
        if request.param == "changed bytes":
            flip(tmp_path / "store.db", key)
        else:
            await control.store.commit([], [Put(key, b'{"id":"x"}')])

    return damage


async def test_a_damaged_secret_is_named_to_who_asks_and_left_out_of_the_list(control, client, damaged, capfd):
    bad = await control.secret("bad")
    await control.secret("good")
    await damaged(f"secret/{bad}")
    for method in ("GET", "DELETE"):
        for reference in ("bad", bad, bad[:20]):
            answer = await client(method, f"/secrets/{reference}")
            assert answer.status == 500
            assert f"record 'secret/{bad}' is damaged" in answer.message
    assert [secret["Spec"]["Name"] for secret in (await client("GET", "/secrets")).json] == ["good"]
    assert f"secret/{bad}" in capfd.readouterr().err
    with pytest.raises(CorruptRecordError, match=bad):
        await control.attach(None, "bad")
    assert control.fs.read((await control.attach(None, "good")).task.id, "good") == b"a value"


@pytest.mark.parametrize("part", ["key", "data"])
async def test_a_damaged_value_is_not_served(control, tmp_path, part):
    bad = await control.secret("bad")
    await control.secret("good")
    flip(tmp_path / "store.db", f"value/{bad}/1/{part}")
    with pytest.raises(CorruptRecordError, match=f"value/{bad}/1/{part}"):
        await control.attach(None, "bad")
    assert (control.fs.trees, await control.tasks.listed()) == ({}, [])
    assert control.fs.read((await control.attach(None, "good")).task.id, "good") == b"a value"


async def test_a_damaged_service_is_named_and_its_tasks_show_nothing_after_a_restart(control, client, damaged):
    await control.secret("db")
    bad = await control.service("bad", "db")
    await control.service("good", "db")
    task, other = (await control.attach("bad")).task.id, (await control.attach("good")).task.id
    await damaged(f"service/{bad}")
    answer = await client("GET", "/services/bad")
    assert (answer.status, f"record 'service/{bad}' is damaged" in answer.message) == (500, True)
    again = control.again()
    await again.trees.load()
    assert (again.trees.desired()[task], len(again.trees.desired()[other])) == ({}, 1)
    answer = await client("DELETE", "/secrets/db")
    assert answer.message.endswith(f"secret 'db' is in use by the following services: {bad}, good")


async def test_a_damaged_task_can_be_flushed_and_is_named(control, client, damaged):
    await control.secret("db")
    task = (await control.attach(None, "db")).task.id
    await damaged(f"task/{task}")
    answer = await client("DELETE", f"/secretfs/v1/tasks/{task}")
    assert (answer.status, f"record 'task/{task}' is damaged" in answer.message) == (500, True)
    assert (await client("GET", "/secretfs/v1/tasks")).json == []
    with pytest.raises(CorruptRecordError):
        await control.tasks.detach(task, "by hand")
    assert control.fs.trees == {}


async def test_damaged_refs_protect_their_object(control, client, damaged):
    bad = await control.secret("bad")
    await control.service("web", "bad")
    await damaged(f"refs/{bad}")
    answer = await client("DELETE", "/secrets/bad")
    assert (answer.status, f"record 'refs/{bad}' is damaged" in answer.message) == (500, True)


async def test_damaged_refs_do_not_keep_a_task_from_ending(control, damaged):
    bad = await control.secret("bad")
    task = (await control.attach(None, "bad")).task.id
    await damaged(f"refs/{bad}")
    await control.tasks.detach(task, "by hand")
    assert await control.tasks.listed() == []
    with pytest.raises(CorruptRecordError):
        await control.attach(None, "bad")


async def test_a_damaged_audit_record_is_left_out(control, damaged):
    await control.secret("one")
    await control.secret("two")
    [first, _] = (await control.store.list(audit.PREFIX)).items
    await damaged(first.key)
    assert [record.name for record in await audit.records(control.store)] == ["two"]


@pytest.fixture
def small_disk(tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


async def test_on_a_full_disk_a_create_says_so_and_all_that_was_acknowledged_is_served(small_disk, serving):
    async with opened(small_disk / "store.db") as store:
        control = control_of(store, Keyring.fresh())
        client: Client = await serving(control.handler())
        acknowledged = []
        for number in range(20):
            body = {"Name": f"s{number}", "Data": base64.b64encode(bytes([number]) * 400_000).decode()}
            answer = await client("POST", "/secrets/create", json.dumps(body).encode())
            if answer.status != 201:
                break
            acknowledged.append(f"s{number}")
        assert answer.status == 507
        assert answer.message.endswith("is full: nothing was changed")
        assert 1 < len(acknowledged) < 20
        listed = (await client("GET", "/secrets")).json
        assert sorted(secret["Spec"]["Name"] for secret in listed) == sorted(acknowledged)
        for number, name in enumerate(acknowledged):
            secret = (await control.secrets.inspect(Kind.SECRET, name)).value
            assert await control.values.equal(VersionRef(secret.id, 1), bytes([number]) * 400_000)
