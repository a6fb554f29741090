"""A store that fails for a while: what was committed is shown and ended even so, and said quietly."""

import os
import subprocess

import pytest
import trio
from control_harness import ME, Control, leader

from secretfs.control import reconcile
from secretfs.control.reconcile import Reconciler
from secretfs.control.usecases.tasks import AttachRequest
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind, TaskId
from secretfs.errors import StoreError, StoreFullError
from secretfs.store.base import Put

ADHOC = AttachRequest(None, (GrantRequest(Kind.SECRET, "db", "db"),), "/run/secrets")


@pytest.fixture
def peer():
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
async def reconciled(control: Control, nursery: trio.Nursery, monkeypatch):
    monkeypatch.setattr(reconcile, "RETRY_SECONDS", 0.01)
    await control.secret("db")
    host = Reconciler(control.store, control.tasks, control.trees, control.fs, control.broker)
    await nursery.start(host.run)
    return control


async def gone(control: Control) -> None:
    with trio.fail_after(5):
        while await control.tasks.listed():
            await trio.lowlevel.checkpoint()
    assert control.fs.trees == {}


async def starting(control: Control, pid: int) -> TaskId:
    return (await control.tasks.attach(ME, ADHOC, leader(pid))).task.id


async def test_a_task_that_never_started_ends_with_its_leader(reconciled, peer):
    task = await starting(reconciled, peer.pid)
    peer.kill()
    await gone(reconciled)
    [*_, ended] = (await reconciled.store.list("audit/")).items
    assert (task.encode() in ended.value, b"its program was not started" in ended.value) == (True, True)


async def test_a_task_that_cannot_be_removed_is_flushed_tried_again_and_said_once(reconciled, peer, capfd):
    await starting(reconciled, peer.pid)
    commit, failures = reconciled.store.commit, []

    async def full(guards, ops):
        failures.append(len(reconciled.fs.trees))
        raise StoreFullError("the disk is full: nothing was changed")

    reconciled.store.commit = full
    peer.kill()
    with trio.fail_after(5):
        while len(failures) < 5:
            await trio.lowlevel.checkpoint()
    reconciled.store.commit = commit
    await gone(reconciled)
    assert set(failures) == {0}
    assert capfd.readouterr().err.count("a task cannot be followed or ended") == 1


async def test_a_running_task_whose_record_is_damaged_keeps_its_children(reconciled, peer):
    task = await starting(reconciled, peer.pid)
    await reconciled.tasks.running(task, os.stat("/proc/self/ns/mnt").st_ino)
    await trio.testing.wait_all_tasks_blocked(0.05)
    await reconciled.store.commit([], [Put(f"task/{task}", b"{")])
    peer.kill()
    reconciled.broker.scans = 0
    with trio.fail_after(5):
        while not reconciled.broker.scans:  # somebody else who has the tree is looked for
            await trio.lowlevel.checkpoint()


async def test_an_update_is_shown_without_a_look_at_the_records_of_all_tasks(control: Control):
    await control.secret("db")
    await control.service("web", "db")
    task = (await control.attach("web")).task.id
    other = (await control.attach(None, "db")).task.id
    list_, refusals = control.store.list, []

    async def failing(prefix: str, after: str = "", limit: int = 1000):
        if prefix == "task/":
            refusals.append(prefix)
            raise StoreError("the store cannot be read")
        return await list_(prefix, after, limit)

    control.store.list = failing
    assert await control.update("web") == []
    assert not refusals
    assert control.fs.trees[task] == {}
    assert control.fs.trees[other] != {}


async def test_an_update_whose_tasks_cannot_be_read_is_a_warning(control: Control):
    await control.secret("db")
    await control.service("web", "db")
    task = (await control.attach("web")).task.id
    draft, rev, commit, get = (
        await control.draft("web"),
        (await control.services.inspect("web")).rev,
        control.store.commit,
        control.store.get,
    )

    async def last(guards, ops):
        answer = await commit(guards, ops)
        control.store.get = control.store.list = failing
        return answer

    async def failing(*_):
        raise StoreError("the store cannot be read")

    control.store.commit = last
    warnings = await control.services.update(ME, "web", rev, draft)
    assert warnings == [f"task {task} does not show its new grants yet: the store cannot be read"]
    control.store.get = get


async def test_the_tasks_of_a_removed_service_are_flushed_at_once(control: Control, nursery):
    await control.secret("db")
    await control.service("web", "db")
    for _ in range(40):
        await control.attach("web")
    control.fs.stalled = trio.Event()
    nursery.start_soon(control.services.remove, ME, "web")
    with trio.fail_after(5):
        while control.fs.stalled.statistics().tasks_waiting < 32:
            await trio.lowlevel.checkpoint()
    control.fs.stalled.set()
    await gone(control)
