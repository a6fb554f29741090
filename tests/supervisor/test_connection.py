"""The mount and the device, with a socket in the device's place."""

import errno
import os
import socket
from types import SimpleNamespace

import pytest

from secretfs.errors import SetupError
from secretfs.linux.mount import AT_FDCWD, MOUNT_ATTR_RDONLY, MS_NODEV, MS_NOEXEC, MS_NOSUID
from secretfs.supervisor import connection
from secretfs.supervisor.connection import Connection

INIT = b"INIT" * 26


@pytest.fixture
def kernel(monkeypatch):
    """The other end of the device, and what was mounted and unmounted."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel = SimpleNamespace(
        device=theirs, mounts=[], attributes=[], taken_away=[], fd=ours.detach(), refuses=None, init=INIT
    )

    def mount(*arguments):
        kernel.mounts.append(arguments)
        if kernel.refuses:
            raise kernel.refuses
        if kernel.init:
            kernel.device.send(kernel.init)

    monkeypatch.setattr(connection, "_opened_device", lambda: kernel.fd)
    monkeypatch.setattr(connection, "mount", mount)
    monkeypatch.setattr(connection, "shelter", kernel.mounts.append)
    monkeypatch.setattr(
        connection, "mount_setattr", lambda *place, **changes: kernel.attributes.append((place, changes))
    )
    monkeypatch.setattr(connection, "take_away", kernel.taken_away.append)
    monkeypatch.setattr(connection, "_INIT_MILLISECONDS", 20)
    yield kernel
    theirs.close()


def is_open(fd: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_every_mount_but_the_pen_is_read_only_and_the_kernel_checks_modes(kernel):
    made = Connection.made("/mnt")
    sheltered, (source, where, kind, flags, options) = kernel.mounts
    assert sheltered == "/mnt", "before anything is mounted there"
    assert (source, where, kind) == ("secretfs", "/mnt", "fuse.secretfs")
    assert flags == MS_NOSUID | MS_NODEV | MS_NOEXEC
    at_once, ((pen,), change) = kernel.attributes
    assert at_once == ((AT_FDCWD, "/mnt"), {"set_attributes": MOUNT_ATTR_RDONLY, "flags": 0})
    assert change == {"clear_attributes": MOUNT_ATTR_RDONLY}
    assert is_open(pen)
    assert options == f"fd={made.fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    made.end()
    assert not is_open(pen)


def test_the_init_is_kept_for_every_fs(kernel):
    made = Connection.made("/mnt")
    assert made.init == INIT
    made.end()


def test_a_resend_is_one_notification(kernel):
    made = Connection.made("/mnt")
    made.resend()
    assert kernel.device.recv(100) == bytes([16, 0, 0, 0, 7, 0, 0, 0]) + bytes(8)
    made.end()


def test_the_end_leaves_neither_mount_nor_device(kernel):
    made = Connection.made("/mnt")
    made.end()
    assert kernel.taken_away == ["/mnt"]
    assert not is_open(kernel.fd)


def test_a_second_end_takes_nothing_away_from_anybody(kernel):
    made = Connection.made("/mnt")
    made.end()
    somebody_elses = os.open("/", os.O_PATH)
    made.end()
    assert len(kernel.taken_away) == 1
    assert is_open(somebody_elses)
    os.close(somebody_elses)


def test_a_mount_that_is_refused_is_said_and_leaves_no_device_open(kernel):
    kernel.refuses = OSError(errno.EPERM, "Operation not permitted")
    with pytest.raises(SetupError) as refusal:
        Connection.made("/mnt")
    assert str(refusal.value) == (
        "secretfs cannot be mounted on '/mnt': Operation not permitted: CAP_SYS_ADMIN is needed"
    )
    assert not is_open(kernel.fd)
    assert kernel.taken_away == ["/mnt"], "its shelter"


def test_a_kernel_that_sends_no_init_is_said_and_no_mount_is_left(kernel):
    kernel.init = b""
    with pytest.raises(SetupError, match="the kernel sent no FUSE_INIT within 20 ms"):
        Connection.made("/mnt")
    assert kernel.taken_away == ["/mnt"]
    assert not is_open(kernel.fd)


def test_a_machine_without_fuse_is_told_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "DEVICE", str(tmp_path / "fuse"))
    with pytest.raises(SetupError) as refusal:
        Connection.made("/mnt")
    assert str(refusal.value) == (
        f"{tmp_path}/fuse cannot be opened: No such file or directory: load the fuse module (modprobe fuse), or give "
        f"the container --device {tmp_path}/fuse --cap-add SYS_ADMIN"
    )


# -- the mount is taken away -----------------------------------------------------------------------------------------


@pytest.fixture
def moves(monkeypatch, kernel):
    """What the mount table says of the mountpoint, and the mounts that were put there."""
    seen = SimpleNamespace(device="0:44", moved=[])
    monkeypatch.setattr(
        connection.mountinfo, "mount_at", lambda _: SimpleNamespace(device=seen.device) if seen.device else None
    )
    monkeypatch.setattr(connection, "move_mount", lambda *arguments: seen.moved.append(arguments))
    monkeypatch.setattr(Connection, "ended", property(lambda _: kernel.ended), raising=False)
    kernel.ended = False
    return seen


def changed(made, table: bool = True) -> None:
    made._changes = SimpleNamespace(poll=lambda _: [1] if table else [])


def test_the_mount_is_looked_for_only_when_the_table_has_changed(kernel, moves):
    made = Connection.made("/mnt")
    assert made.device == "0:44"
    moves.device = None
    changed(made, table=False)
    assert made.kept() is False
    assert not moves.moved
    made.end()


@pytest.mark.parametrize("there", [None, "8:1"])
def test_a_mount_that_is_missing_is_put_back(kernel, moves, there):
    made = Connection.made("/mnt")
    changed(made)
    assert made.kept() is False, "it is where it should be"
    moves.device = there
    spare = made._spare
    assert made.kept() is True
    assert kernel.mounts[-1] == "/mnt", "sheltered again"
    assert moves.moved[0][0] == spare
    assert moves.moved[0][3] == "/mnt"
    made.end()


def test_a_mount_of_a_connection_that_is_over_is_not_put_back(kernel, moves):
    made = Connection.made("/mnt")
    changed(made)
    moves.device, kernel.ended = None, True
    assert made.kept() is False
    made.end()
