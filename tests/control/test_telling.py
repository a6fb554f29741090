"""What a task is told of, whatever stands in the way: over the real store, with an fs and a supervisor in memory."""

import base64
from dataclasses import replace

import pytest
import trio
from control_harness import ME, PATIENCE_SECONDS, Control, Running, until

from secretfs.control import telling, trees
from secretfs.control.records.codec import encode
from secretfs.control.records.lookup import by_id
from secretfs.control.records.tasks import TASKS
from secretfs.control.usecases.services import Beside
from secretfs.core.names import TaskId
from secretfs.core.service import Extras
from secretfs.errors import ArenaFullError, NotFoundError, StoreError, UnavailableError, UnsealError
from secretfs.linux.namespaces import ns_inode
from secretfs.store.base import Put

HUP = 1


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(trees, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(telling, "RETRY_SECONDS", 0.01)


async def running_task(control: Control, on_change: str = "signal:HUP") -> TaskId:
    """A task of service web, which is granted s and says that."""
    await control.secret("s", b"one")
    draft = replace(await control.draft("web", "s"), beside=Beside(Extras(on_change=on_change), {}))
    await control.services.create(ME, draft)
    task = (await control.attach("web")).task.id
    await control.tasks.running(task, ns_inode("self", "mnt"))
    return task


async def untold(control: Control, task: TaskId) -> None:
    """As a control that was killed before it told the task of a change leaves it."""
    found = await by_id(control.store, TASKS, task)
    await control.store.commit([], [Put(TASKS.key(task), encode(replace(found.value, told=())))])


async def until_said(text: str, capfd) -> None:
    said = []

    def has() -> bool:
        said.append(capfd.readouterr().err)
        return text in "".join(said)

    await until(has)


# -- a start -----------------------------------------------------------------------------------------------------------


async def test_a_damaged_service_does_not_keep_control_from_starting(control, serving_all, capfd):
    task = await running_task(control)
    service = (await control.services.inspect("web")).value.id
    await untold(control, task)
    await control.store.commit([], [Put(f"service/{service}", b"\0")])
    running = await serving_all(control)
    await until_said("a service says what cannot be done", capfd)
    assert (await running.client("GET", "/_ping")).body == b"OK"
    assert running.broker.signals == []


@pytest.mark.parametrize(
    "refusal",
    [
        ArenaFullError("the arena is full"),
        UnsealError("a value could not be opened"),
        NotFoundError("a value is missing"),
        UnavailableError("the file system did not answer within 10 s"),
    ],
)
async def test_a_tree_that_fs_does_not_take_at_a_start_is_shown_and_told_later(control, serving_all, capfd, refusal):
    task = await running_task(control)
    await untold(control, task)
    control.fs.failure = refusal
    running = await serving_all(control)
    await until_said("a task is not told yet of what changed before the start", capfd)
    await until_said("a task does not show its grants yet", capfd)
    assert (await running.client("GET", "/_ping")).body == b"OK"
    assert running.broker.signals == []
    control.fs.failure = None
    await until(lambda: running.broker.signals)
    assert running.broker.signals == [HUP]


# -- a change ----------------------------------------------------------------------------------------------------------


async def rotated(running: Running, value: str) -> None:
    body = {"Data": base64.b64encode(value.encode()).decode()}
    answer = await running.client("POST", "/secretfs/v1/secrets/s/versions", body)
    assert answer.status < 300, answer.message


async def test_what_was_done_is_not_done_again_because_it_cannot_be_kept(control, serving_all, capfd):
    await running_task(control)
    running = await serving_all(control)
    commit, failures = control.store.commit, []

    async def failing(guards, ops):
        if running.broker.signals and len(failures) < 5:
            failures.append(ops)
            raise StoreError("the disk does not answer")
        return await commit(guards, ops)

    control.store.commit = failing
    await rotated(running, "two")
    await until_said('"event": "task told of a change"', capfd)
    await until(lambda: len(failures) == 5)
    told = '"Targets":["s"],"Signal":1'
    with trio.fail_after(PATIENCE_SECONDS):
        while told.encode() not in (await running.client("GET", "/secretfs/v1/audit?after=4")).body:
            await trio.lowlevel.checkpoint()
    assert running.broker.signals == [HUP]
    await rotated(running, "three")
    await until(lambda: running.broker.signals == [HUP, HUP])


async def test_who_watches_a_file_hears_of_a_change_while_a_command_runs(control, serving_all):
    await running_task(control, "exec:reload")
    running = await serving_all(control)
    running.broker.running = trio.Event()
    await rotated(running, "two")
    await until(lambda: running.broker.commands == ["reload"])
    assert running.broker.touched == ["s"]
    await rotated(running, "three")
    await until(lambda: running.broker.touched == ["s", "s"])
    assert running.broker.commands == ["reload"]
    running.broker.running.set()
    await until(lambda: running.broker.commands == ["reload", "reload"])
