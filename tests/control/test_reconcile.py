"""A task ends with its last process: real processes in real mount namespaces, seen through pidfds."""

import contextlib
import os
import resource
import signal
import subprocess

import pytest
import trio
from control_harness import ME, Control, leader

from secretfs.control import reconcile
from secretfs.control.processes import leader_pidfd
from secretfs.control.reconcile import Reconciler
from secretfs.control.usecases.tasks import AttachRequest
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind, TaskId
from secretfs.core.task import Leader
from secretfs.errors import StoreError, UnavailableError
from secretfs.linux.namespaces import ns_inode
from secretfs.store.base import Compacted, Put

# Gets a task id, mounts something of that name as secretfs run does, and leaves children behind as told.
SCRIPT = """
read id; cd "$0"; mkdir -p $id/secrets; mount --bind $id/secrets $id/secrets
read children; for child in $children; do setsid sleep 1000 <&- >&- 2>&- & echo $!; done
echo ready; read end
"""


class Program:
    """A process that becomes the leader of a task."""

    def __init__(self, directory) -> None:
        self._process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", SCRIPT, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid
        self.children: list[int] = []

    async def become(self, task: TaskId, children: int = 0) -> None:
        self._process.stdin.write(f"{task}\n{'x ' * children}\n".encode())
        self._process.stdin.flush()
        while (line := await trio.to_thread.run_sync(self._process.stdout.readline)) != b"ready\n":
            self.children.append(int(line))

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def kill(self) -> None:
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def program(tmp_path):
    programs = []

    def started() -> Program:
        programs.append(Program(tmp_path))
        return programs[-1]

    yield started
    for each in programs:
        each.kill()


@pytest.fixture
async def reconciled(control: Control, nursery: trio.Nursery):
    """Control with its reconciler."""
    await control.secret("db")
    await nursery.start(_reconciler(control).run)
    return control


def _reconciler(control: Control) -> Reconciler:
    return Reconciler(control.store, control.tasks, control.trees, control.fs, control.broker)


async def begun(control: Control, program: Program, *, children: int = 0, until_leader: bool = False) -> TaskId:
    request = AttachRequest(None, (GrantRequest(Kind.SECRET, "db", "db"),), "/run/secrets", until_leader)
    task = (await control.tasks.attach(ME, request, leader(program.pid))).task.id
    await program.become(task, children)
    await control.tasks.running(task, ns_inode(program.pid, "mnt"))
    return task


async def gone(control: Control) -> None:
    """Wait until no task is left, and no tree."""
    with trio.fail_after(5):
        while await control.tasks.listed():
            await trio.lowlevel.checkpoint()
    assert control.fs.trees == {}


async def test_a_task_ends_with_its_leader_when_it_is_the_last(reconciled, program):
    leader_process = program()
    task = await begun(reconciled, leader_process)
    assert list(reconciled.fs.trees) == [task]
    leader_process.end()
    await gone(reconciled)


async def test_a_task_lives_as_long_as_a_child_in_its_mount_namespace(reconciled, program):
    leader_process = program()
    task = await begun(reconciled, leader_process, children=2)
    leader_process.end()
    reconciled.broker.scans = 0
    first, second = leader_process.children
    os.kill(first, signal.SIGKILL)
    await quiet(reconciled)
    assert list(reconciled.fs.trees) == [task]
    os.kill(second, signal.SIGKILL)
    await gone(reconciled)


async def quiet(control: Control) -> None:
    """Until somebody was looked for after the leader's end."""
    with trio.fail_after(5):
        while not control.broker.scans:
            await trio.lowlevel.checkpoint()


async def test_until_leader_ends_with_the_leader_whoever_is_left(reconciled, program):
    leader_process = program()
    await begun(reconciled, leader_process, children=1, until_leader=True)
    leader_process.end()
    await gone(reconciled)


async def test_a_namespace_number_that_is_used_again_does_not_keep_a_task(reconciled, program):
    leader_process, stranger = program(), program()
    await stranger.become(TaskId("somebodyelse0000000000000"))
    request = AttachRequest(None, (GrantRequest(Kind.SECRET, "db", "db"),), "/run/secrets")
    task = (await reconciled.tasks.attach(ME, request, leader(leader_process.pid))).task.id
    await reconciled.tasks.running(task, ns_inode(stranger.pid, "mnt"))
    leader_process.end()
    await gone(reconciled)


async def test_many_tasks_end_at_once(reconciled, program):
    programs = [program() for _ in range(10)]
    for each in programs:
        await begun(reconciled, each)
    assert len(reconciled.fs.trees) == 10
    for each in programs:
        each.end()
    await gone(reconciled)


async def test_a_task_that_was_detached_is_no_longer_followed(reconciled, program):
    task = await begun(reconciled, program())
    await reconciled.tasks.detach(task, "by hand")
    await gone(reconciled)


async def test_a_broker_that_is_away_is_asked_again(reconciled, program, monkeypatch):
    monkeypatch.setattr(reconcile, "RETRY_SECONDS", 0.01)
    members, failures = reconciled.broker.members, [UnavailableError("the supervisor is away")] * 3

    async def away(task: TaskId, mnt_ns: int) -> list[int]:
        if failures:
            raise failures.pop()
        return await members(task, mnt_ns)

    reconciled.broker.members = away
    leader_process = program()
    await begun(reconciled, leader_process)
    leader_process.end()
    await gone(reconciled)
    assert failures == []


async def test_control_started_again_follows_what_lives_and_ends_what_is_gone(control: Control, program, nursery):
    await control.secret("db")
    living, dead, orphaned = program(), program(), program()
    task = await begun(control, living)
    await begun(control, dead)
    with_child = await begun(control, orphaned, children=1)
    starting = (await control.attach(None, "db")).task.id
    dead.end()
    orphaned.end()
    again = control.again()
    await again.trees.load()
    assert starting in again.trees.desired()
    await nursery.start(_reconciler(again).run)
    with trio.fail_after(5):
        while set(again.fs.trees) != {task, with_child}:
            await trio.lowlevel.checkpoint()
    os.kill(orphaned.children[0], signal.SIGKILL)
    living.end()
    await gone(again)


async def test_a_task_whose_service_was_removed_while_control_died_is_ended_at_the_next_start(
    control: Control, program, nursery
):
    await control.secret("db")
    await control.service("web", "db")
    process = program()
    request = AttachRequest("web", (), "/run/secrets")
    task = (await control.tasks.attach(ME, request, leader(process.pid))).task.id
    await process.become(task)
    await control.tasks.running(task, ns_inode(process.pid, "mnt"))
    record = await control.store.get(f"task/{task}")
    await control.services.remove(ME, "web")
    await control.store.commit([], [Put(record.key, record.value)])  # as had control died between the two
    again = control.again()
    await again.trees.load()
    await nursery.start(_reconciler(again).run)
    await gone(again)


async def test_a_damaged_task_record_ends_nothing_but_itself(control: Control, program, nursery, capfd):
    await control.secret("db")
    await control.store.commit([], [Put("task/damaged", b"{")])
    await nursery.start(_reconciler(control).run)
    leader_process = program()
    await begun(control, leader_process)
    await control.store.commit([], [Put("task/damaged", b"[")])
    leader_process.end()
    with trio.fail_after(5):
        while control.fs.trees:
            await trio.lowlevel.checkpoint()
    assert "task/damaged" in capfd.readouterr().err


async def test_after_a_compaction_the_tasks_are_read_again(control: Control, program, nursery):
    await control.secret("db")
    reconciler, watch, compacted = _reconciler(control), control.store.watch, [1]

    async def forgetful(prefix: str, rev: int):
        changes = await watch(prefix, rev)
        return Compacted(changes.rev) if compacted and compacted.pop() else changes

    control.store.watch = forgetful
    await nursery.start(reconciler.run)
    leader_process = program()
    await begun(control, leader_process)
    leader_process.end()
    await gone(control)


async def test_a_store_that_fails_after_a_compaction_is_asked_again(control: Control, program, nursery, monkeypatch):
    monkeypatch.setattr(reconcile, "RETRY_SECONDS", 0.01)
    await control.secret("db")
    reconciler, watch, everything, refusals = _reconciler(control), control.store.watch, reconcile.everything, [1]

    async def forgetful(prefix: str, rev: int):
        changes = await watch(prefix, rev)
        return Compacted(changes.rev) if refusals else changes

    async def failing(store, prefix: str):
        if refusals.pop():
            raise StoreError("the store cannot be read")
        return await everything(store, prefix)

    control.store.watch = forgetful
    await nursery.start(reconciler.run)
    monkeypatch.setattr(reconcile, "everything", failing)
    leader_process = program()
    await begun(control, leader_process)
    leader_process.end()
    await gone(control)
    assert refusals == []


def test_a_pid_that_is_used_again_is_not_the_leader():
    me = leader()
    assert leader_pidfd(Leader("another boot", me.pid, me.start_ticks)) is None
    assert leader_pidfd(Leader(me.boot_id, me.pid, me.start_ticks + 1)) is None
    assert leader_pidfd(Leader(me.boot_id, 2**22, 1)) is None
    pidfd = leader_pidfd(me)
    assert pidfd is not None
    os.close(pidfd)


@contextlib.contextmanager
def no_descriptor_left():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_leader_that_cannot_be_looked_at_has_not_ended():
    me = leader()
    with no_descriptor_left(), pytest.raises(UnavailableError, match="Too many open files"):
        leader_pidfd(me)
