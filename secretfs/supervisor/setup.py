"""What the daemon finds on the machine, and what it makes there. A refusal says what to do, and comes before a change.

Fixed uids, free of the ranges of Debian and systemd, unless system users of these names exist.
"""

import contextlib
import fcntl
import grp
import os
import pwd
import select
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from secretfs.errors import SetupError
from secretfs.linux.namespaces import one_id_only
from secretfs.linux.process import alive

_FS_USER: Final = ("secretfs-fs", 75301)
_CONTROL_USER: Final = ("secretfs-control", 75302)
_API_GROUP: Final = "secretfs"
_SERVICES: Final = "services"
LOCK: Final = "daemon.lock"
_KIND, _PID, _FILE = 1, 4, 5  # fields of proc_locks(5), counted from 0; "->" before the first is another's wish
_ATTACH_MODE: Final = 0o666  # control asks who it is
_BACKLOG: Final = 512
_DEAD_HOLDER_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Ids:
    """Who a child process is."""

    uid: int
    gid: int


def fs_ids() -> Ids:
    """Uid and gid of fs."""
    return _ids(*_FS_USER)


def control_ids() -> Ids:
    """Uid and gid of control."""
    return _ids(*_CONTROL_USER)


def check_root() -> None:
    """Raises SetupError for any other user."""
    if os.geteuid() != 0:
        raise SetupError(f"secretfs daemon must be run as root, not as uid {os.geteuid()}: use sudo")


def made_directory(path: str, what: str, *, mode: int, owners: tuple[int, ...]) -> None:
    """Make the directory if it is missing. Raises SetupError if others could write to it, or if it is none."""
    try:
        Path(path).mkdir(mode=mode, parents=True, exist_ok=True)
        found = os.stat(path)
    except OSError as exc:
        raise SetupError(f"{what} {path!r} cannot be used: {exc.strerror}") from exc
    if found.st_uid not in owners:
        raise SetupError(f"{what} {path!r} belongs to uid {found.st_uid}: run chown root {path}")
    if found.st_mode & 0o022:
        shown = stat.S_IMODE(found.st_mode)
        raise SetupError(f"{what} {path!r} can be written by others (mode {shown:04o}): run chmod go-w {path}")


def give_state(path: str, owner: Ids) -> None:
    """The state directory and the files in it belong to control."""
    os.chmod(path, 0o700)
    for place in [path, *(entry.path for entry in os.scandir(path))]:
        os.chown(place, owner.uid, owner.gid, follow_symlinks=False)


def locked(directory: str, stuck: Callable[[int, int], None] | None = None) -> int:
    """A descriptor that holds the directory's lock. Raises SetupError if another daemon does, naming its pid.

    ``stuck`` is called, with pid and descriptor, again and again as long as the holder seems to be dead and to keep it.
    """
    try:
        fd = os.open(os.path.join(directory, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise SetupError(f"{directory!r} cannot be locked: {exc.strerror}") from exc
    if not _flocked(fd, stuck):
        holder = named_holder(fd) or "unknown"
        os.close(fd)
        raise SetupError(
            f"another secretfs daemon (pid {holder}) uses {directory!r}: stop it, or choose other directories "
            "with --state-dir and --runtime-dir; --takeover replaces it"
        )
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def named_holder(fd: int) -> str:
    """What the lock file says about who holds it: a pid, unless somebody has written to it."""
    return os.pread(fd, 32, 0).decode("ascii", "replace").strip()


def holds(pid: int, fd: int) -> bool:
    """Whether the process has the lock of this open file, by the kernel's word.

    The device number is not compared: what proc_locks(5) shows and what stat(2) says differ on some file systems.
    """
    inode = str(os.fstat(fd).st_ino)
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(
        (fields[_KIND], fields[_PID], fields[_FILE].rpartition(":")[2]) == ("FLOCK", str(pid), inode)
        for fields in locks
    )


def _flocked(fd: int, stuck: Callable[[int, int], None] | None) -> bool:
    """Lock it. A holder that is dead may have a child that has not yet reached its exec, or a thread that has not yet
    ended: they get a moment.
    """
    until = time.monotonic() + _DEAD_HOLDER_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = named_holder(fd)
            if not holder.isdecimal() or alive(int(holder)) or time.monotonic() > until:
                return False
            select.select([], [], [], _LOOK_SECONDS)
            if stuck:
                stuck(int(holder), fd)
        else:
            return True


def listener(path: str, kind: socket.SocketKind, *, mode: int, gid: int = 0) -> socket.socket:
    """A listening unix socket at ``path``; a file left there by a dead daemon is replaced."""
    end = socket.socket(socket.AF_UNIX, kind)
    before = os.umask(0o177)
    try:
        Path(path).unlink(missing_ok=True)
        end.bind(path)
    except OSError as exc:
        end.close()
        raise SetupError(f"socket {path!r} cannot be made: {exc.strerror or exc}") from exc
    finally:
        os.umask(before)
    os.chown(path, 0, gid)
    os.chmod(path, mode)
    end.listen(_BACKLOG)
    end.setblocking(False)
    return end


def services_directory(runtime_dir: str, uid: int, api_gid: int) -> int:
    """A descriptor of the directory in which control makes the sockets of services. Raises OSError.

    Whoever may reach into it may begin tasks of every service: that is root, and who may use the API.
    """
    path = os.path.join(runtime_dir, _SERVICES)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, uid, api_gid)
        os.fchmod(fd, 0o710 if api_gid else 0o700)
    except OSError:
        os.close(fd)
        raise
    return fd


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets. They outlive the supervisor: fs keeps a descriptor of each."""

    api: socket.socket
    attach: socket.socket
    handover: socket.socket

    @classmethod
    def made(cls, directory: str) -> Self:
        """Raises SetupError."""
        private = one_id_only()
        return cls(
            listener(f"{directory}/api.sock", socket.SOCK_STREAM, mode=0o600 if private else 0o660, gid=api_gid()),
            listener(f"{directory}/attach.sock", socket.SOCK_SEQPACKET, mode=0o600 if private else _ATTACH_MODE),
            listener(f"{directory}/handover.sock", socket.SOCK_SEQPACKET, mode=0o600),
        )

    @classmethod
    def adopted(cls, api: int, attach: int, handover: int) -> Self:
        """Those of another supervisor, by their descriptors. An older one's attach socket was for root alone."""
        sockets = cls(*(socket.socket(fileno=fd) for fd in (api, attach, handover)))
        with contextlib.suppress(OSError):
            os.chmod(sockets.attach.getsockname(), _ATTACH_MODE)
        return sockets

    @property
    def fds(self) -> tuple[int, int, int]:
        """For children: api, attach, handover."""
        return self.api.fileno(), self.attach.fileno(), self.handover.fileno()

    def unlink(self) -> None:
        """Nobody can connect any more."""
        for end in (self.api, self.attach, self.handover):
            with contextlib.suppress(OSError):
                os.unlink(end.getsockname())


def api_gid() -> int:
    """The group that may use the API: ``secretfs``; without one it is root's alone."""
    if one_id_only():
        return os.getgid()
    try:
        return grp.getgrnam(_API_GROUP).gr_gid
    except KeyError:
        return 0


def _ids(name: str, number: int) -> Ids:
    """In a user namespace that knows one uid all have that."""
    if one_id_only():
        return Ids(os.getuid(), os.getgid())
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return Ids(number, number)
    return Ids(user.pw_uid, user.pw_gid)
