"""From the ring into the audit: every open once, also of what has ended meanwhile, and few commits for many."""

import os

import pytest
import trio
from control_harness import PATIENCE_SECONDS, Control, until

from secretfs.control import audit
from secretfs.control.opens import Opens
from secretfs.core.names import ObjectId, TaskId
from secretfs.fs.opens import opened_ring
from secretfs.link.ring import SLOTS, Subject, subject_slots
from secretfs.supervisor.ring import OpensRing

UNKNOWN = TaskId("z" * 25)


class Ring:
    """The ring, fs's end of it, and control's as often as control begins."""

    def __init__(self, control: Control) -> None:
        self._made = OpensRing.made()
        self._control = control
        self._writer = opened_ring(*self._made.fds)

    def reader(self, control: Control) -> Opens:
        return Opens(*map(os.dup, self._made.fds), control.commits)

    def open(self, task: TaskId, object_id: ObjectId, target: str = "db", uid: int = 0) -> None:
        self._writer.record(subject_slots(Subject(0, 1, task, object_id, target)), os.getpid(), uid, uid)
        self._writer.answered()

    async def stored(self, opens: Opens, count: int) -> list[audit.AuditRecord]:
        """The first opens, as soon as there are so many."""
        with trio.fail_after(PATIENCE_SECONDS):
            while len(found := await opens_of(self._control)) < count:
                await opens.rest()
                await trio.lowlevel.checkpoint()
        return found


async def opens_of(control: Control) -> list[audit.AuditRecord]:
    return [record for record in await audit.records(control.store) if record.action == "open"]


@pytest.fixture
def ring(control):
    return Ring(control)


async def ended_task(control: Control) -> tuple[TaskId, ObjectId]:
    """A task of web that is gone."""
    secret = await control.secret("db")
    await control.service("web", "db")
    task = (await control.attach("web")).task.id
    await control.tasks.detach(task, "by hand")
    return task, secret


async def test_an_open_of_a_task_that_has_ended_keeps_the_name_of_its_service(control, ring):
    task, secret = await ended_task(control)
    for number in range(100):
        await control.secret(f"s{number}")
    ring.open(task, secret)
    ring.open(UNKNOWN, secret)
    found, unknown = await ring.stored(ring.reader(control), 2)
    assert (found.name, found.detail["Service"], found.detail["Task"]) == ("db", "web", task)
    assert (unknown.name, unknown.detail["Service"]) == ("db", "")


async def test_a_task_that_was_attached_here_is_known_whatever_the_audit_has_kept(control, ring):
    secret = await control.secret("db")
    reader = ring.reader(control)
    reader.attached(UNKNOWN, "web")
    ring.open(UNKNOWN, secret)
    [found] = await ring.stored(reader, 1)
    assert found.detail["Service"] == "web"


async def test_opens_of_any_length_are_all_stored_in_their_order_round_the_end_of_the_ring(control, ring):
    secret = await control.secret("db")
    reader, targets = ring.reader(control), ["db", "x" * 90, "y" * 300, "z" * 4096]
    count = 0
    while count * 8 < SLOTS + 1000:
        for _ in range(2000):
            ring.open(UNKNOWN, secret, targets[count % 4], count)
            count += 1
        await reader.rest()
    found = await ring.stored(reader, count)
    assert [record.uid for record in found] == list(range(count))
    assert [record.detail["Target"] for record in found[:4]] == targets


async def test_a_crowd_of_opens_is_stored_in_few_commits_and_by_itself(control, ring, nursery):
    secret = await control.secret("db")
    reader = ring.reader(control)
    nursery.start_soon(reader.run)
    before = control.commits.chain.head.next
    for _ in range(10_000):
        ring.open(UNKNOWN, secret)
    await until(lambda: reader._slot() == 10_000)
    assert control.commits.chain.head.next - before < 10
    assert len(await opens_of(control)) == 10_000
