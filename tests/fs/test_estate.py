"""What an fs without a supervisor gives, to whom, and how long it waits."""

import os
import socket
from types import SimpleNamespace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.fs import handover
from secretfs.fs.handover import ORPHAN_SECONDS, Estate
from secretfs.link import codec, serving
from secretfs.linux import peer, seqpacket
from secretfs.linux.descriptors import receive_fds

USABLE = 4096


@pytest.fixture
def estate(tmp_path):
    """Real descriptors of files in the places of device, arena and sockets."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "handover.sock"))
    listener.setblocking(False)
    listener.listen(8)
    fds = []
    for name in ("fuse", "arena", "api", "attach", "opens", "event"):
        (tmp_path / name).write_text(name)
        fds.append(os.open(tmp_path / name, os.O_RDONLY))
    yield Estate(*fds[:4], listener, tuple(fds[4:]), 1 << 20, "0:44", "00ff")
    listener.close()
    for fd in fds:
        os.close(fd)


def connected(estate) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end.connect(estate.listener.getsockname())
    end.setblocking(False)
    return end


def set_event() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


async def given(estate, ready=None):
    return await estate.given(lambda: USABLE, set_event() if ready is None else ready)


async def test_root_gets_everything_and_a_socket_to_fs(estate):
    with connected(estate) as supervisor:
        ours = await given(estate)
        packet, fds, _ = receive_fds(supervisor, codec.MAX_FRAME_BYTES, 8)
    assert codec.decode(packet) == serving.Handover(1 << 20, USABLE, "0:44 00ff")
    theirs = seqpacket.adopt(fds[0])
    theirs.send(b"word")
    assert ours.recv(10) == b"word"
    assert [os.read(fd, 10) for fd in fds[1:5]] == [b"fuse", b"arena", b"api", b"attach"]
    assert os.fstat(fds[5]).st_ino == os.fstat(estate.listener.fileno()).st_ino
    assert [os.read(fd, 10) for fd in fds[6:]] == [b"opens", b"event"]
    for fd in fds[1:]:
        os.close(fd)
    ours.close()
    theirs.close()


async def test_fs_can_be_handed_over_again_and_again(estate):
    for _ in range(3):
        with connected(estate) as supervisor:
            (await given(estate)).close()
            packet, fds, _ = receive_fds(supervisor, codec.MAX_FRAME_BYTES, 8)
            assert packet
            for fd in fds:
                os.close(fd)


async def test_anybody_else_gets_nothing_and_root_after_him_everything(estate, monkeypatch):
    uids = [1000, 0]
    monkeypatch.setattr(handover, "peer", SimpleNamespace(credentials=lambda _: peer.Credentials(7, uids.pop(0), 0)))
    with connected(estate) as stranger, connected(estate) as supervisor:
        (await given(estate)).close()
        assert stranger.recv(100) == b""
        packet, fds, _ = receive_fds(supervisor, codec.MAX_FRAME_BYTES, 8)
        assert packet
        for fd in fds:
            os.close(fd)


async def test_who_is_gone_before_he_is_let_in_keeps_nobody_out(estate):
    connected(estate).close()
    with connected(estate) as supervisor:
        (await given(estate)).close()
        packet, fds, _ = receive_fds(supervisor, codec.MAX_FRAME_BYTES, 8)
        assert packet
        for fd in fds:
            os.close(fd)


async def test_when_nobody_comes_the_waiting_ends(estate, autojump_clock):
    began = trio.current_time()
    assert await given(estate) is None
    assert trio.current_time() - began == pytest.approx(ORPHAN_SECONDS)


async def test_an_fs_that_does_not_serve_yet_is_nothing_to_give(estate):
    ready = trio.Event()
    heirs = []
    with connected(estate) as supervisor:
        async with trio.open_nursery() as nursery:

            async def wait():
                heirs.append(await given(estate, ready))

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            with pytest.raises(BlockingIOError):
                supervisor.recv(1)
            ready.set()
        heirs[0].close()
        packet, fds, _ = receive_fds(supervisor, codec.MAX_FRAME_BYTES, 8)
        assert packet
        for fd in fds:
            os.close(fd)
