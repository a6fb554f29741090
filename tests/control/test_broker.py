"""What control asks of the supervisor: against a script, and joined to the real broker over a real socket."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.control.broker import ANSWER_SECONDS, Broker, Namespaces
from secretfs.control.channel import next_frame
from secretfs.core.names import Kind, TaskId
from secretfs.errors import LinkError, NotFoundError, UnavailableError
from secretfs.link import brokering, codec, pulse, serving
from secretfs.linux import process, seqpacket
from secretfs.linux.namespaces import ns_inode
from secretfs.supervisor import broker as root_broker
from secretfs.supervisor import members

T1, T2 = TaskId("1" * 25), TaskId("2" * 25)
PROGRAM = "import sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"


# What counts is a mount's root; a directory of another file system has that of a task's tree as well.
MOUNTS = 'mount -t tmpfs t /mnt && cd /mnt && mkdir -p $0/secrets && mount -B $0/secrets $0/secrets && exec "$@"'


class AnyDevice(set):
    """A tmpfs has another one each time."""

    def __contains__(self, device: object) -> bool:
        return True


@pytest.fixture(autouse=True)
def _tmpfs_counts_as_secretfs(monkeypatch):
    pattern = members._TREE.pattern.replace(rb"fuse\.secretfs", b"tmpfs")
    monkeypatch.setattr(members, "_TREE", re.compile(pattern))


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class Heard:
    """What the supervisor's words without a question led to."""

    def __init__(self) -> None:
        self.wires: list[tuple] = []
        self.stops = 0

    def wired(self, end, mailbox) -> None:
        self.wires.append((end, mailbox))

    def stop(self) -> None:
        self.stops += 1


@asynccontextmanager
async def asked(heard=None):
    """A Broker that runs, and the supervisor's end of its socket."""
    heard = heard or Heard()
    ours, theirs = seqpacket.pair()
    broker = Broker(ours)
    with ours, theirs:
        async with trio.open_nursery() as nursery:

            async def run():
                await broker.run(wired=heard.wired, stop=heard.stop)

            nursery.start_soon(run)
            yield broker, theirs
            nursery.cancel_scope.cancel()


def say(end, frame, fds=()):
    seqpacket.send(end, codec.encode(frame), fds)


async def hear(end):
    with trio.fail_after(5):
        received = await next_frame(end, max_fds=10)
    return received and received[0]


async def refusal_of(call, *arguments, answer, end, fds=()):
    """What the call raises when the supervisor answers so."""
    caught = []

    async def ask():
        try:
            await call(*arguments)
        except (NotFoundError, UnavailableError, LinkError) as refusal:
            caught.append(refusal)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        question = await hear(end)
        say(end, answer(question.ask), fds)
    return caught[0]


# -- words without a question ----------------------------------------------------------------------------------------


async def test_the_heartbeat_is_answered_and_identity_wire_and_stop_are_taken():
    heard = Heard()
    async with asked(heard) as (broker, end):
        with pytest.raises(UnavailableError, match="has not said who it is yet"):
            assert broker.own
        say(end, pulse.Ping(9))
        assert await hear(end) == pulse.Pong(9)
        say(end, brokering.Identity(1, 2, 3))
        await broker.identified()
        assert broker.own == Namespaces(user=1, pid=2, mnt=3)
        reading, writing = os.pipe()
        mine, other = seqpacket.pair()
        say(end, pulse.Wire(), [other.fileno(), reading])
        say(end, pulse.Stop())
        await wait_all_tasks_blocked()
        ((wire, mailbox),) = heard.wires
        assert heard.stops == 1
        mine.send(b"hello")
        assert wire.recv(10) == b"hello"
        os.write(writing, b"box")
        assert os.read(mailbox, 3) == b"box"
        for one in (wire, mine, other):
            one.close()
        for fd in (mailbox, reading, writing):
            os.close(fd)


async def test_ready_and_stopped_are_said():
    async with asked() as (broker, end):
        await broker.ready()
        await broker.stopped()
        assert [await hear(end), await hear(end)] == [pulse.Ready(), pulse.Stopped()]


async def test_the_end_of_the_supervisor_ends_run():
    ours, theirs = seqpacket.pair()
    theirs.close()
    with ours, trio.fail_after(5):
        await Broker(ours).run(wired=lambda *_: None, stop=lambda: None)


@pytest.mark.parametrize("frame", [brokering.TreeFd(77, 0), pulse.Wire(), brokering.Members(3, 0), serving.Grown(1, 0)])
async def test_an_answer_to_nobody_is_logged_and_its_descriptors_are_closed(frame, capfd):
    async with asked() as (_broker, end):
        before = descriptors()
        fd = os.open("/", os.O_PATH)
        say(end, frame, [fd])
        os.close(fd)
        say(end, pulse.Ping(1))
        assert await hear(end) == pulse.Pong(1)
        assert descriptors() == before
    line = json.loads(capfd.readouterr().err.splitlines()[0])
    assert line["event"] == "an answer to nobody"
    assert line["frame"] == type(frame).__name__


# -- questions, against a script -------------------------------------------------------------------------------------


async def test_answers_come_in_any_order():
    async with asked() as (broker, end):
        answers = {}

        async def ask(pid):
            answers[pid] = await broker.namespaces(pidfd)

        pidfd = os.pidfd_open(os.getpid())
        async with trio.open_nursery() as nursery:
            for pid in range(3):
                nursery.start_soon(ask, pid)
            asks = [(await hear(end)).ask for _ in range(3)]
            for ask_number in reversed(asks):
                say(end, brokering.Namespaces(ask_number, 0, 10 + ask_number, 20, 30))
        os.close(pidfd)
        assert len({found.user for found in answers.values()}) == 3


async def test_more_questions_than_the_socket_has_room_for_wait_for_their_turn():
    async with asked() as (broker, end):
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(1000):
                    nursery.start_soon(broker.touch, T1, Kind.SECRET, "db")
                await wait_all_tasks_blocked()
                asks = []
                for _ in range(1000):
                    asks.append((await hear(end)).ask)
                    say(end, brokering.Acted(asks[-1], 0, 0))
        assert len(set(asks)) == 1000


async def test_a_tree_that_cannot_be_mounted_is_said():
    async with asked() as (broker, end):
        refusal = await refusal_of(
            broker.tree_fd, T1, Kind.SECRET, answer=lambda ask: brokering.TreeFd(ask, 2), end=end
        )
    assert str(refusal) == f"the tree of task {T1} cannot be mounted: No such file or directory"


async def test_a_process_that_is_gone_is_said():
    async with asked() as (broker, end):
        pidfd = os.pidfd_open(os.getpid())
        answer = lambda ask: brokering.Namespaces(ask, 3, 0, 0, 0)  # noqa: E731
        refusal = await refusal_of(broker.namespaces, pidfd, answer=answer, end=end)
        os.close(pidfd)
    assert isinstance(refusal, NotFoundError)
    assert str(refusal) == "the process is gone: No such process"


@pytest.mark.parametrize(
    ("answer", "fds"),
    [
        (lambda ask: brokering.TreeFd(ask, 0), 0),
        (lambda ask: brokering.TreeFd(ask, 0), 2),
        (lambda ask: brokering.TreeFd(ask, 5), 1),
        (lambda ask: brokering.Namespaces(ask, 0, 1, 2, 3), 0),
    ],
)
async def test_an_answer_out_of_step_is_a_link_error_and_leaks_no_descriptor(answer, fds):
    async with asked() as (broker, end):
        before = descriptors()
        fd = os.open("/", os.O_PATH)
        refusal = await refusal_of(broker.tree_fd, T1, Kind.SECRET, answer=answer, end=end, fds=[fd] * fds)
        os.close(fd)
        assert descriptors() == before
    assert isinstance(refusal, LinkError)


async def test_an_answer_that_does_not_come_is_waited_for_so_long(autojump_clock):
    async with asked() as (broker, end):
        with pytest.raises(UnavailableError, match=f"did not answer within {ANSWER_SECONDS:g} s"):
            await broker.members(T1, 1)
        assert trio.current_time() == pytest.approx(ANSWER_SECONDS, abs=0.1)
        question = await hear(end)
        before = descriptors()
        say(end, brokering.Members(question.ask, 1), [0])
        await wait_all_tasks_blocked()
        assert descriptors() == before, "what comes late is closed"


async def test_members_that_come_in_parts_are_closed_when_the_rest_does_not_come(autojump_clock):
    async with asked() as (broker, end):
        before = descriptors()

        async def part():
            question = await hear(end)
            say(end, brokering.Members(question.ask, 1), [0, 1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(part)
            with pytest.raises(UnavailableError):
                await broker.members(T1, 1)
        assert descriptors() == before


async def test_a_question_to_a_supervisor_that_is_gone_is_a_link_error():
    ours, theirs = seqpacket.pair()
    theirs.close()
    with ours, pytest.raises(LinkError, match="the peer is gone"):
        await Broker(ours).members(T1, 1)


async def test_a_command_that_has_no_turn_now_is_asked_again_later():
    async with asked() as (broker, end):
        words = (T1, 1, 0, ("web", "db", "true"))
        refused = await refusal_of(
            broker.command, *words, answer=lambda ask: brokering.Acted(ask, errno.EAGAIN, 0), end=end
        )
    assert isinstance(refused, UnavailableError)


# -- questions, to the real one --------------------------------------------------------------------------------------


class Supervisor:
    """The part of its loop that hears control."""

    def __init__(self, end, mountpoint: str) -> None:
        self._end = end
        self.broker = root_broker.Broker(mountpoint, os.stat, AnyDevice)

    async def run(self) -> None:
        while (received := await next_frame(self._end, max_fds=2)) is not None:
            assert self.broker.serve(self._end, *received)


@asynccontextmanager
async def joined(mountpoint="/nowhere"):
    async with asked() as (broker, end):
        supervisor = Supervisor(end, str(mountpoint))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            yield broker, supervisor
            nursery.cancel_scope.cancel()
        supervisor.broker._threads.shutdown()


@contextmanager
def processes(count=1, *, apart=False):
    """Living processes; ``apart``: the first in a mount namespace of its own that has a tree, the others in that of
    the first.
    """
    program = [sys.executable, "-SEc", PROGRAM]
    first = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", MOUNTS, T1, *program] if apart else program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    made = [first]
    try:
        first.stdout.read(1)
        for _ in range(count - 1):
            made.append(
                subprocess.Popen(
                    ["nsenter", f"--mount=/proc/{first.pid}/ns/mnt", "cat"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            made[-1].stdin.write(b"x")
            made[-1].stdin.flush()
            made[-1].stdout.read(1)
        yield made
    finally:
        for one in made:
            one.kill()
            one.communicate()


async def test_the_namespaces_of_a_process_are_told():
    with processes() as (one,):
        pidfd = os.pidfd_open(one.pid)
        async with joined() as (broker, _):
            found = await broker.namespaces(pidfd)
            own = root_broker.own_identity(home_mnt=0)
            assert found == Namespaces(own.user, own.pid, own.mnt)
            one.kill()
            one.wait()
            with pytest.raises(NotFoundError, match="the process is gone"):
                await broker.namespaces(pidfd)
        os.close(pidfd)


async def test_something_that_is_no_pidfd_has_no_namespaces():
    async with joined() as (broker, _):
        with pytest.raises(NotFoundError):
            await broker.namespaces(0)


async def test_the_members_of_a_task_are_told_by_pidfd():
    with processes(3, apart=True) as made:
        async with joined() as (broker, _):
            pidfds = await broker.members(T1, 0)
            assert {process.pid_of(fd) for fd in pidfds} == {one.pid for one in made}
            for fd in pidfds:
                os.close(fd)
            for one in made:
                one.kill()
                one.wait()
            assert await broker.members(T1, 0) == []


async def test_more_members_than_fit_into_a_frame_come_in_several(monkeypatch):
    monkeypatch.setattr(brokering, "MAX_FDS", 2)
    with processes(5, apart=True):
        async with joined() as (broker, _):
            pidfds = await broker.members(T1, 0)
            assert len(pidfds) == 5
            for fd in pidfds:
                os.close(fd)


async def test_a_zombie_is_no_member():
    with processes(apart=True) as (one,):
        mnt = ns_inode(one.pid, "mnt")
        one.kill()
        await trio.to_thread.run_sync(os.waitid, os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
        async with joined() as (broker, _):
            assert await broker.members(T1, mnt) == []


async def test_many_who_ask_at_once_are_all_answered():
    with processes(apart=True):
        async with joined() as (broker, _):
            counts = []

            async def ask(wanted):
                pidfds = await broker.members(wanted, 0)
                counts.append((wanted, len(pidfds)))
                for fd in pidfds:
                    os.close(fd)

            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(ask, T1 if number % 2 else T2)
            assert sorted(counts) == [(T1, 1)] * 5 + [(T2, 0)] * 5


async def test_a_machine_that_cannot_be_looked_at_is_no_empty_namespace(monkeypatch):
    """Too many open files: "nobody is there" would end every task. Nobody is answered, and later ones are."""
    looked, real = threading.Event(), os.listdir

    def out_of_descriptors(path):
        if path == "/proc":
            looked.set()
            raise OSError(24, "Too many open files")
        return real(path)

    async with joined() as (broker, _), trio.open_nursery() as nursery:
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", out_of_descriptors)
            nursery.start_soon(broker.members, T1, 12345)
            assert await trio.to_thread.run_sync(looked.wait, 5)
            await wait_all_tasks_blocked()
        with trio.fail_after(3):
            assert await broker.members(T2, 54321) == []
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("where", [(members, "_mount_table"), (members, "ns_inode"), (os, "pidfd_open")])
def test_a_process_that_cannot_be_looked_at_is_not_left_out(monkeypatch, where):
    def out_of_descriptors(*_):
        raise OSError(24, "Too many open files")

    def answered(end):
        root_broker._send_members(end, brokering.AskMembers(1, 0, T1), members.Look(AnyDevice()))

    ours, theirs = seqpacket.pair()
    with ours, theirs, processes(apart=True):
        with monkeypatch.context() as patch:
            patch.setattr(*where, out_of_descriptors)
            with pytest.raises(OSError, match="Too many open files"):
                answered(theirs)
        with pytest.raises(BlockingIOError):
            ours.recv(10)
        answered(theirs)
        assert ours.recv(10)


async def test_the_tree_of_a_task_is_a_detached_mount(tmp_path):
    (tmp_path / T1 / "secrets").mkdir(parents=True)
    (tmp_path / T1 / "secrets" / "a").write_text("value")
    async with joined(tmp_path) as (broker, _):
        fd = await broker.tree_fd(T1, Kind.SECRET)
        assert os.listdir(f"/proc/self/fd/{fd}") == ["a"]
        os.close(fd)
        with pytest.raises(UnavailableError, match="No such file or directory"):
            await broker.tree_fd(T1, Kind.CONFIG)


@pytest.mark.parametrize(
    "ask",
    [
        brokering.AskTreeFd(1, 2, T1),
        brokering.AskTreeFd(1, 255, T1),
        brokering.AskTreeFd(1, 0, "../../../../etc/ssl/certs"),
        brokering.AskTreeFd(1, 0, "." * 25),
        brokering.AskTreeFd(1, 0, "A" * 25),
        brokering.AskTreeFd(1, 0, "1" * 24 + "\n"),
        brokering.AskTreeFd(1, 0, "1" * 24 + "\0"),
    ],
)
async def test_a_path_that_is_no_tree_is_never_looked_up(ask, monkeypatch):
    looked_up = []
    monkeypatch.setattr(root_broker, "open_tree", lambda path: looked_up.append(path) or 0)
    ours, theirs = seqpacket.pair()
    broker = root_broker.Broker("/nowhere", os.stat, AnyDevice)
    with ours, theirs:
        assert broker.serve(theirs, codec.decode(codec.encode(ask)), [])
        assert await hear(ours) == brokering.TreeFd(1, 22)
    assert not looked_up
    broker._threads.shutdown()


@pytest.mark.parametrize(
    ("frame", "fds"),
    [(pulse.Pong(1), []), (brokering.AskNamespaces(1), []), (brokering.AskMembers(1, 2, T1), [0]), (pulse.Ready(), [])],
)
def test_what_is_no_question_is_left_to_the_supervisor(frame, fds):
    broker = root_broker.Broker("/nowhere", os.stat, AnyDevice)
    assert not broker.serve(None, frame, fds)
    broker._threads.shutdown()


async def test_an_answer_to_a_control_that_is_gone_is_no_error(capfd):
    ours, theirs = seqpacket.pair()
    broker = root_broker.Broker("/nowhere", os.stat, AnyDevice)
    ours.close()
    broker.serve(theirs, brokering.AskTreeFd(1, 9, T1), [])
    broker._threads.shutdown()
    theirs.close()
    broker = root_broker.Broker("/nowhere", os.stat, AnyDevice)
    broker.serve(theirs, brokering.AskTreeFd(1, 9, T1), [])
    broker._threads.shutdown()
    assert capfd.readouterr().err.count("answer not delivered") == 2
