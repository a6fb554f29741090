"""A daemon of an ordinary user. Rule: it is root of a user namespace of its own, in which the user is uid 0 and nobody
else exists; the file system is mounted in a mount namespace of its own, and only processes of that user namespace, and
of those below it, can read it (FUSE's allow_other means no more there).

So whoever attaches enters the user namespace first: who owns it may, from outside, see user_namespaces(7). A daemon
that is started again joins the namespaces of the last one, as long as a process or a task of it lives: what is mounted
in tasks can be repaired from there alone. Their numbers are in a file of the runtime directory; it proves nothing, and
need not: nobody can enter a user namespace that is not his.
"""

import os
from collections.abc import Iterable

from secretfs.errors import SetupError
from secretfs.linux import mount, namespaces
from secretfs.linux.namespaces import CLONE_NEWNS, CLONE_NEWUSER, ns_inode

RECORD = "namespaces"
_LOCK = "daemon.lock"
_MAX_RECORD_BYTES = 128


def become_root(runtime_dir: str) -> int:
    """Enter the daemon's namespaces, or make them; the number of the mount namespace that was left, whose processes may
    attach. Raises: SetupError.
    """
    home = ns_inode("self", "mnt")
    try:
        os.makedirs(runtime_dir, mode=0o700, exist_ok=True)
    except OSError as exc:
        raise SetupError(f"the runtime directory {runtime_dir!r} cannot be used: {exc.strerror}") from None
    try:
        if not _joined(runtime_dir):
            namespaces.own_user_namespace(0, 0)
            mount.mount(None, "/", flags=mount.MS_REC | mount.MS_SLAVE)
        _record(runtime_dir)
    except OSError as exc:
        failure = SetupError(f"a user namespace for the daemon cannot be made: {exc}")
        failure.add_note("'secretfs doctor' says what this host allows: see 'user namespaces' there")
        raise failure from None
    return home


def enter_daemons(socket_path: str) -> bool:
    """Enter the user namespace of the daemon behind the socket, if it is in one of its own; whether that was so.

    Our uid is 0 there. OSError when it cannot be entered.
    """
    directory = os.path.dirname(socket_path)
    recorded = _recorded(directory)
    if recorded is None or recorded[0] == ns_inode("self", "user"):
        return False
    fd = _user_namespace(recorded[0], [*_holder(directory), *_pids()])
    if fd is None:
        return False
    try:
        namespaces.setns(fd, CLONE_NEWUSER)
    finally:
        os.close(fd)
    return True


def _joined(runtime_dir: str) -> bool:
    """Enter what the last daemon has left: its user namespace, and its mount namespace if fs lives."""
    recorded = _recorded(runtime_dir)
    if recorded is None or not _entered(recorded[0]):
        return False
    if not namespaces.one_id_only():
        raise SetupError(f"{runtime_dir}/{RECORD} names a user namespace of something else: remove that file")
    fd = next((fd for pid in _pids() if (fd := _opened(pid, "mnt", recorded[1])) is not None), None)
    if fd is None:
        namespaces.unshare(CLONE_NEWNS)
        mount.mount(None, "/", flags=mount.MS_REC | mount.MS_SLAVE)
        return True
    try:
        namespaces.setns(fd, CLONE_NEWNS)
    finally:
        os.close(fd)
    return True


def _entered(inode: int) -> bool:
    """Enter the user namespace of this number, if it still is that of a daemon of ours; whether it was."""
    fd = None if inode == ns_inode("self", "user") else _user_namespace(inode, _pids())
    if fd is None:
        return False
    try:
        namespaces.setns(fd, CLONE_NEWUSER)
    except PermissionError:
        return False
    finally:
        os.close(fd)
    return True


def _user_namespace(inode: int, pids: Iterable[int]) -> int | None:
    """A descriptor of the one with this number, by one of these processes that is in it, or in one right below it."""
    for pid in pids:
        fd = _opened(pid, "user", None)
        if fd is None:
            continue
        if os.fstat(fd).st_ino == inode:
            return fd
        above = _above(fd)
        os.close(fd)
        if above is not None and os.fstat(above).st_ino == inode:
            return above
        if above is not None:
            os.close(above)
    return None


def _above(fd: int) -> int | None:
    try:
        return namespaces.parent_of(fd)
    except OSError:
        return None


def _opened(pid: int, kind: str, inode: int | None) -> int | None:
    """A descriptor of a process's namespace, if it has this number; None also when it is not ours to see."""
    try:
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if inode in (None, os.fstat(fd).st_ino):
        return fd
    os.close(fd)
    return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _holder(directory: str) -> list[int]:
    """The supervisor, as the daemon's lock file names it."""
    found = _content(os.path.join(directory, _LOCK)).strip()
    return [int(found)] if found.isdecimal() else []


def _recorded(directory: str) -> tuple[int, int] | None:
    """The inode numbers of the daemon's user and mount namespace; None when it is a daemon of root's."""
    words = _content(os.path.join(directory, RECORD)).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(map(str.isdecimal, words)) else None


def _content(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(fd, _MAX_RECORD_BYTES).decode("ascii", "replace")
    finally:
        os.close(fd)


def _record(directory: str) -> None:
    path = os.path.join(directory, RECORD)
    draft = f"{path}.new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, f"{ns_inode('self', 'user')} {ns_inode('self', 'mnt')}\n".encode())
    finally:
        os.close(fd)
    os.rename(draft, path)
