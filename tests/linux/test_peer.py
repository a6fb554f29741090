import os
import socket

import pytest
import trio

from secretfs.linux import peer, process


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield listener


def connecting_child(listener: socket.socket, *, uid: int = 0, stay: bool = True) -> tuple[int, socket.socket]:
    pid = os.fork()
    if pid == 0:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            path = listener.getsockname()
            os.chmod(path, 0o666)
            os.chmod(os.path.dirname(path), 0o755)
            fd = os.open(os.path.dirname(path), os.O_PATH)
            process.drop_to(uid, uid)
            connection.connect(f"/proc/self/fd/{fd}/{os.path.basename(path)}")
            if stay:
                connection.recv(1)
        os._exit(0)
    return pid, listener.accept()[0]


def test_the_kernel_says_who_connected(listener):
    pid, connection = connecting_child(listener)
    assert peer.credentials(connection) == peer.Credentials(pid, 0, 0)
    connection.close()
    os.waitpid(pid, 0)


def test_another_user_is_told_from_root(listener):
    pid, connection = connecting_child(listener, uid=4321)
    assert peer.credentials(connection) == peer.Credentials(pid, 4321, 4321)
    connection.close()
    os.waitpid(pid, 0)


def test_the_pidfd_is_of_the_process_that_connected(listener):
    pid, connection = connecting_child(listener)
    fd = peer.pidfd(connection)
    assert process.pid_of(fd) == pid
    assert not os.get_inheritable(fd)
    connection.close()
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        process.pid_of(fd)
    os.close(fd)


def test_a_peer_that_was_reaped_has_no_living_pidfd(listener):
    pid, connection = connecting_child(listener, stay=False)
    os.waitpid(pid, 0)
    with pytest.raises(OSError):  # noqa: PT011 - older kernels give none, newer ones one of the dead
        process.pid_of(peer.pidfd(connection))
    connection.close()


async def test_a_socket_of_trio_is_as_good():
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        assert peer.credentials(ours) == peer.Credentials(os.getpid(), os.getuid(), os.getgid())
        fd = peer.pidfd(theirs)
        assert process.pid_of(fd) == os.getpid()
        os.close(fd)
