"""From the ring into the audit: every open once, also of what has ended meanwhile, and few commits for many."""

import os
from mmap import mmap

import pytest
import trio
from control_harness import PATIENCE_SECONDS, Control, until

from secretfs.control import audit
from secretfs.control.opens import Opens
from secretfs.core.names import ObjectId, TaskId
from secretfs.fs.opens import opened_ring
from secretfs.link.ring import ANSWERED, HEAD, HEADER_BYTES, RING_BYTES, SLOTS, TAIL, Subject, subject_slots
from secretfs.supervisor.ring import OpensRing

UNKNOWN = TaskId("z" * 25)


class Ring:
    """The ring, fs's end of it, and control's as often as control begins."""

    def __init__(self, control: Control, made: OpensRing | None = None) -> None:
        self._made = made or OpensRing.made()
        self._control = control
        self._writer = opened_ring(*self._made.fds)

    @classmethod
    async def turned(cls, control: Control, slot: int) -> "Ring":
        """One of which so many slots were written and read."""
        made = OpensRing.made()
        with mmap(made.fd, RING_BYTES) as memory, memoryview(memory)[:HEADER_BYTES].cast("Q") as words:
            words[HEAD] = words[ANSWERED] = words[TAIL] = slot
        ring = cls(control, made)
        await control.commits.keep([], ring=ring.reader(control)._id, slot=slot, lost=0)
        return ring

    def reader(self, control: Control) -> Opens:
        return Opens(*map(os.dup, self._made.fds), control.commits)

    def open(self, task: TaskId, object_id: ObjectId, target: str = "db", uid: int = 0, kind: int = 0) -> None:
        self._writer.record(subject_slots(Subject(kind, 1, task, object_id, target)), os.getpid(), uid, uid)
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


async def test_what_no_control_has_granted_stops_no_other_record(control, ring):
    secret = await control.secret("db")
    ring.open(UNKNOWN, secret, "\udc80")  # a byte that is not UTF-8
    ring.open(UNKNOWN, secret, kind=7)
    ring.open(UNKNOWN, secret)
    found = await ring.stored(ring.reader(control), 2)
    assert [record.detail["Target"] for record in found] == ["\\x80", "db"]


async def test_a_task_that_was_attached_here_is_known_whatever_the_audit_has_kept(control, ring):
    secret = await control.secret("db")
    reader = ring.reader(control)
    reader.attached(UNKNOWN, "web")
    ring.open(UNKNOWN, secret)
    [found] = await ring.stored(reader, 1)
    assert found.detail["Service"] == "web"


async def test_opens_of_any_length_are_all_stored_in_their_order_round_the_end_of_the_ring(control):
    ring = await Ring.turned(control, SLOTS - 40)
    secret = await control.secret("db")
    reader, targets = ring.reader(control), ["db", "x" * 90, "y" * 300, "z" * 4096]
    for number in range(20):
        ring.open(UNKNOWN, secret, targets[number % 4], number)
    found = await ring.stored(reader, 20)
    assert [record.uid for record in found] == list(range(20))
    assert [record.detail["Target"] for record in found] == targets * 5
    assert reader._slot() > SLOTS


async def test_a_crowd_of_opens_is_stored_in_few_commits_and_by_itself(control, ring, nursery):
    secret = await control.secret("db")
    reader = ring.reader(control)
    nursery.start_soon(reader.run)
    before = control.commits.chain.head.next
    for _ in range(10_000):
        ring.open(UNKNOWN, secret)
    await until(lambda: reader._slot() == 10_000)
    assert control.commits.chain.head.next - before < 10
    found = await opens_of(control)
    assert len(found) == 10_000
    assert [record.time_ns for record in found] == sorted(record.time_ns for record in found)
    assert len({record.time_ns for record in found}) > 5_000, "each has its own"
    assert control.commits.chain.head.size < 400_000, "what is the same is stored once"
