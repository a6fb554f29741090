import errno
import os
import resource
import sys
from pathlib import Path

import pytest
import trio
from attach_peers import CLIENT, ELSEWHERE, MOUNTED, TASK, Frontend, encoded, given, said
from trio.testing import wait_all_tasks_blocked

from secretfs.control.audit import Caller
from secretfs.control.frontends import attach, places
from secretfs.control.listening import accepted
from secretfs.control.usecases.tasks import AttachRequest
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind, TaskId
from secretfs.core.task import Leader
from secretfs.errors import NotFoundError, StoreError, UnavailableError
from secretfs.linux import mount, process


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def frontend(tmp_path):
    tmp_path.chmod(0o755)
    made = Frontend(tmp_path)
    yield made
    made.listener.close()


@pytest.fixture(autouse=True)
def no_descriptor_is_left(frontend):
    before = open_descriptors()
    yield
    assert open_descriptors() == before


async def test_a_peer_gets_its_tree_and_the_word_to_start(frontend):
    async with frontend.serving(), frontend.peer() as connection:
        await connection.send(encoded())
        answer, [tree] = await given(connection)
        assert os.readlink(f"/proc/self/fd/{tree}") == str(frontend.broker.tree / "secrets")
        os.close(tree)
        assert answer == {"Task": TASK, "Files": [{"Kind": "secret", "Name": "secret.db", "Target": "db"}]}
        await connection.send(MOUNTED)
        assert [await said(connection), await said(connection)] == [{"Go": True}, None]
    leader = Leader(process.boot_id(), os.getpid(), process.start_ticks(os.getpid()))
    request = AttachRequest("web", (), "/run/secrets", False)
    assert frontend.tasks.log == [
        ("attach", Caller(0, 0, os.getpid()), request, leader),
        ("running", TASK, ELSEWHERE),
    ]


async def test_a_mount_needs_no_mount_namespace_of_its_own_and_its_peer_alone_is_the_task(frontend):
    frontend.broker.seen = None
    async with frontend.serving(), frontend.peer() as connection:
        await connection.send(encoded(Mount=True))
        _, [tree] = await given(connection)
        os.close(tree)
        await connection.send(MOUNTED)
        assert [await said(connection), await said(connection)] == [{"Go": True}, None]
    begun, running = frontend.tasks.log
    assert begun[2] == AttachRequest("web", (), "/run/secrets", mounted=True)
    assert running == ("running", TASK, None)


async def test_configs_come_as_a_second_tree(frontend):
    frontend.tasks.files = [(Kind.CONFIG, "db")]
    async with frontend.serving(), frontend.peer() as connection:
        await connection.send(encoded())
        answer, fds = await given(connection)
        assert [os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) for fd in fds] == ["secrets", "configs"]
        for fd in fds:
            os.close(fd)
        assert answer["Files"] == [{"Kind": "config", "Name": "config.db", "Target": "db"}]


async def test_grants_arrive_as_they_were_typed(frontend):
    secrets = [
        {"source": "a", "target": "b/c", "uid": "redis", "gid": "7", "mode": 0o400, "version": 3},
        {"source": "a", "target": "a"},
    ]
    await frontend.said_to(encoded(Service=None, Secrets=secrets, UntilLeader=True, TargetDir="/x"))
    assert frontend.tasks.log[0][2] == AttachRequest(
        None,
        (
            GrantRequest(Kind.SECRET, "a", "b/c", "redis", "7", 0o400, 3),
            GrantRequest(Kind.SECRET, "a", "a", "0", "0", 0o444, None),
        ),
        "/x",
        True,
    )


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (b"\xff", "the message cannot be read: JSON is malformed: invalid character (byte 0)"),
        (b"[]", "the message cannot be read: Expected `object`, got `array`"),
        (b"{}", "the message cannot be read: Object missing required field `TargetDir`"),
        (b'{"X":' + b"[" * 60_000, "the message cannot be read: Object contains unknown field `X`"),
        (encoded(Colour="red"), "the message cannot be read: Object contains unknown field `Colour`"),
        (encoded(TargetDir=1), "the message cannot be read: Expected `str`, got `int` - at `$.TargetDir`"),
        (
            encoded(Secrets=[{"source": "a"}]),
            "the message cannot be read: Object missing required field `target` - at `$.Secrets[0]`",
        ),
        (
            encoded(Secrets=[{"source": "a", "target": "a", "mode": "0440"}]),
            "the message cannot be read: Expected `int`, got `str` - at `$.Secrets[0].mode`",
        ),
        (encoded(Service="x" * 65_536), "the message is longer than 65536 bytes"),
        (encoded(TargetDir="run"), "invalid target directory 'run': it must be an absolute path"),
        (encoded(TargetDir=""), "invalid target directory '': it must be an absolute path"),
        (encoded(TargetDir="/a\0b"), "invalid target directory '/a\\x00b': it must be an absolute path"),
        (encoded(TargetDir="/" * 4096), f"invalid target directory '{'/' * 4096}': it must be an absolute path"),
    ],
)
async def test_a_request_that_is_none_is_refused(frontend, packet, text):
    [refusal, *rest] = await frontend.said_to(packet)
    assert refusal["Error"].startswith(text)
    assert (rest, frontend.tasks.log) == ([None], [])


async def test_what_the_use_case_refuses_reaches_the_peer(frontend):
    frontend.tasks.refusals["attach"] = NotFoundError("service web not found")
    assert await frontend.said_to(encoded()) == [{"Error": "service web not found"}, None]
    assert frontend.tasks.acts() == ["attach"]


async def test_a_tree_that_cannot_be_had_takes_the_task_back(frontend):
    frontend.tasks.files = [(Kind.CONFIG, "db")]
    frontend.broker.refused_kind = Kind.CONFIG
    assert await frontend.said_to(encoded()) == [{"Error": "no tree today"}, None]
    assert frontend.tasks.log[1:] == [("detach", TASK, "its program was not started")]


async def test_an_answer_that_no_packet_holds_takes_the_task_back(frontend):
    frontend.tasks.files = [(Kind.SECRET, f"{number}{'x' * 200}") for number in range(1000)]
    assert await frontend.said_to(encoded()) == [{"Error": "the task has too many files: 1000"}, None]
    assert frontend.tasks.acts() == ["attach", "detach"]


async def test_a_task_that_was_detached_meanwhile_does_not_start(frontend):
    frontend.tasks.refusals["running"] = NotFoundError(f"task {TASK} not found")
    [_, refusal, end] = await frontend.said_to(encoded(), MOUNTED)
    assert (refusal, end) == ({"Error": f"task {TASK} not found"}, None)
    assert frontend.tasks.acts() == ["attach", "running", "detach"]


async def test_a_peer_that_kept_the_daemon_s_mount_namespace_does_not_start(frontend):
    frontend.broker.seen = None
    [_, refusal, end] = await frontend.said_to(encoded(), MOUNTED)
    assert (refusal, end) == ({"Error": "a task needs a mount namespace of its own"}, None)
    assert frontend.tasks.acts() == ["attach", "detach"]


@pytest.mark.parametrize("packet", [b'{"Mounted": false}', b'{"Mounted": 1}', b"{}", b"x"])
async def test_a_peer_that_did_not_mount_does_not_start(frontend, packet):
    [_, answer, *_] = await frontend.said_to(encoded(), packet)
    assert answer is None or "cannot be read" in answer["Error"]
    assert frontend.tasks.acts() == ["attach", "detach"]


async def test_a_peer_that_ends_before_it_asks_costs_nothing(frontend):
    async with frontend.serving():
        async with frontend.peer():
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
    assert frontend.tasks.log == []


async def test_a_peer_that_ends_before_it_mounts_is_detached(frontend):
    async with frontend.serving():
        async with frontend.peer() as connection:
            await connection.send(encoded())
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert frontend.tasks.acts() == ["attach", "detach"]


async def test_a_peer_that_ends_before_it_is_told_to_start_is_detached(frontend):
    async with frontend.serving():
        async with frontend.peer() as connection:
            await connection.send(encoded())
            await connection.send(MOUNTED)
        await wait_all_tasks_blocked()
        assert frontend.tasks.acts()[-1] == "detach"


@pytest.mark.parametrize(("packets", "acts"), [([], []), ([encoded()], ["attach", "detach"])])
async def test_a_silent_peer_has_two_seconds(frontend, autojump_clock, packets, acts):
    async with frontend.serving(), frontend.peer() as connection:
        for packet in packets:
            await connection.send(packet)
            await said(connection)
        began = trio.current_time()
        assert await said(connection) is None
        assert trio.current_time() - began == pytest.approx(2)
        assert frontend.tasks.acts() == acts


async def test_a_detach_that_fails_is_survived(frontend, capfd):
    frontend.tasks.refusals["detach"] = StoreError("the store is full")
    frontend.broker.refused_kind = Kind.SECRET
    assert await frontend.said_to(encoded()) == [{"Error": "no tree today"}, None]
    assert '"a task that did not start is still there"' in capfd.readouterr().err


async def test_a_detach_that_does_not_end_is_left_after_five_seconds(frontend, autojump_clock, capfd):
    frontend.tasks.detach_seconds = 60
    frontend.broker.refused_kind = Kind.SECRET
    assert await frontend.said_to(encoded()) == [{"Error": "no tree today"}, None]
    assert trio.current_time() < 6
    assert '"no end after 5.0 s"' in capfd.readouterr().err


async def test_when_the_daemon_stops_what_has_not_started_is_detached(frontend):
    async with frontend.serving() as server, frontend.peer() as connection:
        await connection.send(encoded())
        await said(connection)
        server.cancel()
    assert frontend.tasks.acts() == ["attach", "detach"]


async def test_what_waits_for_a_place_gets_one(frontend, monkeypatch, autojump_clock):
    monkeypatch.setattr(places, "MAX_OF_ROOT", 1)
    frontend.broker.seen = None
    async with frontend.serving(), frontend.peer() as first, frontend.peer() as second:
        await second.send(encoded())
        await wait_all_tasks_blocked()
        assert frontend.tasks.log == []
        first.close()
        assert (await said(second))["Task"] == TASK


async def test_a_machine_without_descriptors_is_waited_for(autojump_clock, capfd):
    outcomes = [OSError(errno.EMFILE, "full"), ConnectionAbortedError(), OSError(errno.ENOMEM, "full"), "peer"]

    class Listener:
        async def accept(self):
            outcome = outcomes.pop(0)
            if isinstance(outcome, OSError):
                raise outcome
            return outcome, None

    assert await accepted(Listener(), "attach") == "peer"
    assert trio.current_time() == pytest.approx(0.2)
    assert capfd.readouterr().err.count("a connection cannot be accepted") == 2


def test_a_peer_that_cannot_be_looked_at_is_refused_and_ends_nobody():
    pidfd = os.pidfd_open(os.getpid())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(UnavailableError, match="cannot tell who asks: Too many open files"):
            attach._leader(pidfd)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(pidfd)


async def test_a_listener_that_is_broken_ends_the_server():
    class Listener:
        async def accept(self):
            raise OSError(errno.EBADF, "bad")

    with pytest.raises(OSError, match="bad"):
        await accepted(Listener(), "attach")


async def test_a_peer_that_died_in_the_backlog_is_nobody(frontend):
    leaving = CLIENT.replace("print(", "assert connection.send(b'{}') == 2 #")
    await trio.run_process([sys.executable, "-c", leaving, frontend.path, "0"])
    async with frontend.serving():
        await wait_all_tasks_blocked()
    assert frontend.tasks.log == []


async def test_secretfs_run_and_this_end_understand_each_other(frontend, tmp_path):
    place = tmp_path / "secrets"
    frontend.broker.seen = None
    frontend.broker.tree_fd = tree_of(place)
    mount.mount("secrets", str(place), "tmpfs", mount.MS_NOSUID, "mode=755")
    try:
        (place / "db").write_text("This is a secret")
        command = [sys.executable, "-m", "secretfs.cli.main", "-H", f"unix://{tmp_path}/api.sock", "run"]
        words = ["--service", "web", "--target-dir", f"{tmp_path}/run", "--file-vars"]
        script = "cat $SECRET_DB_FILE; readlink /proc/self/ns/mnt; echo $$"
        async with frontend.serving():
            result = await trio.run_process([*command, *words, "--", "sh", "-c", script], capture_stdout=True)
    finally:
        mount.umount2(str(place), mount.MNT_DETACH)
    [attached, running] = frontend.tasks.log
    shown = f"This is a secretmnt:[{running[2]}]\n{attached[3].pid}\n"
    assert result.stdout.decode() == shown
    assert running[2] != frontend.broker.own.mnt


def tree_of(place: Path):
    async def tree_fd(_task: TaskId, _kind: Kind) -> int:
        return mount.open_tree(str(place))

    return tree_fd
