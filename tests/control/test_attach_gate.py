"""Who is let in, and who is not: real processes with real ids in real namespaces."""

import json
import os
import socket
import sys

import pytest
import trio
from attach_peers import API_GID, CLIENT, Frontend
from trio.testing import wait_all_tasks_blocked

from secretfs.control.audit import Caller
from secretfs.control.frontends import places
from secretfs.control.frontends.gate import EVERYBODYS, Door, Gate
from secretfs.control.usecases.rights import Rights
from secretfs.core.names import ServiceId, ServiceName
from secretfs.linux import namespaces

USER, GROUP = 4321, 4322
WEB = Door(ServiceId("s" * 25), ServiceName("web"))
NAMESPACES = ["--mount", "--pid", "--user"]
ROOT_ELSEWHERE = {
    "Error": "root of another user, pid or mount namespace may not attach tasks: start them on the host, "
    "or give the container the socket of its service"
}
ASKING = CLIENT.replace("print(", """connection.send(b'{"TargetDir": "/x", "Service": "web"}'); print(""").replace(
    "os.setuid", "int(sys.argv[2]) and (os.setgroups([int(gid) for gid in sys.argv[3:]]), os.setgid(4322)); os.setuid"
)

IN_A_USER_NAMESPACE = "import ctypes; libc = ctypes.CDLL(None)\n" + ASKING.replace(
    "with socket", "assert libc.unshare(0x10000000) == 0\nwith socket", 1
)


@pytest.fixture
def frontend(tmp_path):
    tmp_path.chmod(0o755)
    made = Frontend(tmp_path)
    yield made
    made.listener.close()


async def told(frontend, uid: int, *groups: int, wrapper: tuple[str, ...] = (), client: str = ASKING) -> object:
    """What a peer of its own process hears first."""
    command = [*wrapper, sys.executable, "-c", client, frontend.path, str(uid), *map(str, groups)]
    async with frontend.serving():
        said = json.loads((await trio.run_process(command, capture_stdout=True)).stdout)
        await wait_all_tasks_blocked()
        return said


def unshared(kind: str, *, as_root: bool = False) -> tuple[str, ...]:
    return ("unshare", kind, "--fork", *(["--map-root-user"] if kind == "--user" and as_root else []))


@pytest.mark.parametrize("kind", NAMESPACES)
async def test_root_of_another_namespace_is_refused_before_a_byte_is_read(frontend, kind):
    assert await told(frontend, 0, wrapper=unshared(kind, as_root=True), client=CLIENT) == ROOT_ELSEWHERE
    assert frontend.tasks.log == []
    assert [kept[:2] for kept in frontend.tasks.kept] == [(0, "")]


async def test_a_user_of_another_pid_namespace_is_refused_before_a_byte_is_read(frontend):
    """Root of a container can become any uid."""
    refusal = await told(frontend, USER, wrapper=unshared("--pid"), client=CLIENT)
    assert refusal["Error"].startswith(f"uid {USER} of another pid namespace may not attach tasks: ")
    assert frontend.tasks.log == []
    assert [kept[:2] for kept in frontend.tasks.kept] == [(USER, "")]


@pytest.mark.parametrize("wrapper", [(), unshared("--mount")], ids=["at home", "mount namespace"])
async def test_a_user_is_known_by_uid_and_all_groups(frontend, wrapper):
    assert "Task" in await told(frontend, USER, 7, 8, wrapper=wrapper)
    assert frontend.tasks.rights == Rights(trusted=False, gids=frozenset({GROUP, 7, 8}))


async def test_a_user_namespace_changes_nobody(frontend):
    """Whoever he is there, he is the user here."""
    assert "Task" in await told(frontend, USER, 7, client=IN_A_USER_NAMESPACE)
    assert frontend.tasks.rights == Rights(trusted=False, gids=frozenset({GROUP, 7}))
    assert frontend.tasks.log[0][1].uid == USER


@pytest.mark.parametrize("count", [256, 257, 3000])
async def test_a_user_may_have_many_groups(frontend, count):
    groups = range(10_000, 10_000 + count)
    await told(frontend, USER, *groups)
    assert frontend.tasks.rights.gids == {GROUP, *groups}


async def test_who_may_use_the_api_is_trusted(frontend):
    await told(frontend, USER, API_GID)
    assert frontend.tasks.rights.trusted


async def test_without_a_group_of_the_api_nobody_but_root_is_trusted(frontend):
    gate = Gate(frontend.broker, 0)
    pidfd = os.pidfd_open(os.getpid())
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        rights = await gate.rights(ends[0], Caller(USER, 0, os.getpid()), pidfd, EVERYBODYS)
        assert not rights.trusted, "group root is in nobody's gift"
    finally:
        os.close(pidfd)
        for end in ends:
            end.close()


# -- the socket of a service ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("uid", "kind"), [*((0, kind) for kind in NAMESPACES), (USER, "--pid")])
async def test_who_comes_from_elsewhere_through_a_service_s_socket_may_do_that(frontend, kind, uid):
    frontend.door = WEB
    assert "Task" in await told(frontend, uid, wrapper=unshared(kind, as_root=True))
    assert frontend.tasks.rights == Rights(trusted=True, only=WEB.service)


@pytest.mark.parametrize("wrapper", [(), ("unshare", "--mount", "--fork")], ids=["at home", "mount namespace"])
async def test_a_user_of_the_host_needs_leave_there_too(frontend, wrapper):
    frontend.door = WEB
    await told(frontend, USER, 7, wrapper=wrapper)
    assert frontend.tasks.rights == Rights(trusted=False, gids=frozenset({GROUP, 7}), only=WEB.service)


async def test_the_host_s_root_is_bound_to_the_service_as_well(frontend):
    frontend.door = WEB
    await told(frontend, 0)
    assert frontend.tasks.rights == Rights(trusted=True, only=WEB.service)


# -- places -----------------------------------------------------------------------------------------------------------


async def test_a_user_with_too_many_connections_is_refused(frontend, monkeypatch):
    monkeypatch.setattr(places, "MAX_OF_ONE", 0)
    text = f"uid {USER} has 0 connections at once, which is the most: try again"
    assert await told(frontend, USER, client=CLIENT) == {"Error": text}
    assert frontend.tasks.kept == [(USER, "", text, 0)]


async def test_a_service_with_too_many_connections_is_refused_root_as_well(frontend, monkeypatch):
    monkeypatch.setattr(places, "MAX_OF_ONE", 0)
    frontend.door = WEB
    text = "service web has 0 connections at once, which is the most: try again"
    assert await told(frontend, 0, client=CLIENT) == {"Error": text}
    assert frontend.tasks.kept == [(0, "web", text, 0)]


async def test_all_users_together_leave_room_for_root(frontend, monkeypatch):
    monkeypatch.setattr(places, "MAX_OF_OTHERS", 0)
    assert (await told(frontend, USER, client=CLIENT))["Error"].startswith("0 connections of others are open")
    assert "Task" in await told(frontend, 0)


TABLES = {"all": "0 0 4294967295", "one": "0 1000 1", "some": "1 1000 1\n 3 7 2", "none": ""}


@pytest.mark.parametrize(
    ("number", "table", "known"),
    [
        (0, "all", True),
        (65534, "all", True),
        (65534, "one", False),
        (0, "one", True),
        (5, "some", False),
        (4, "some", True),
        (1, "none", False),
    ],
)
def test_an_id_means_somebody_where_it_is_mapped(tmp_path, monkeypatch, number, table, known):
    (tmp_path / "map").write_text(TABLES[table])
    real = open
    monkeypatch.setattr("builtins.open", lambda _path, **how: real(tmp_path / "map", **how))
    assert namespaces.mapped(number, "uid") is known
