"""Putting a task's trees in place. The rule: a mount namespace of our own first, so that nobody else ever
sees them.

What others mount later still arrives here (``/`` becomes a slave), what is mounted here goes nowhere. Who may not make
a mount namespace makes it in a user namespace, in which his own uid and gid are what they were, and all others 65534.
"""

import errno
import os
from collections.abc import Mapping, Sequence

from secretfs.errors import AttachError
from secretfs.linux import mount, namespaces

_MISSING_HINT = (
    "let root make it once: echo 'd {place} 0755' >/etc/tmpfiles.d/secretfs.conf && systemd-tmpfiles --create"
)
_ELSEWHERE_HINT = "choose another directory with --target-dir"

_USER_NAMESPACES_HINT = (
    "this host must let users have user namespaces: see sysctl user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
)
_ROOT_HINT = "or run it as root; in a container, with the capability SYS_ADMIN"
_MAKE = "make the target directory"
_DETACH = "make a slave mount of"
_EMPTY_PATHS = mount.MOVE_MOUNT_F_EMPTY_PATH | mount.MOVE_MOUNT_T_EMPTY_PATH


def check_place(target_dir: str) -> None:
    """Refuse a directory that is not there and that this process may not make. Raises: AttachError."""
    above = target_dir
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if above != target_dir and os.path.isdir(above) and not os.access(above, os.W_OK | os.X_OK):
        raise _failure(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), _MAKE, target_dir)


def put_in_place(trees: Sequence[int], target_dir: str, ids: tuple[int, int] | None = None, *, configs: bool) -> bool:
    """Move the detached mounts: the first to target_dir, a second to ``configs`` beside it. Closes their
    descriptors. This process has a mount namespace of its own from here on; whether it needed a user namespace for
    that. With ids it has one in any case, and this uid and gid in it. Raises: AttachError; but where there are no
    configs yet and their directory cannot be made, it does without.
    """
    unprivileged = _leave(ids)
    for tree, place, needed in zip(trees, (target_dir, configs_dir(target_dir)), (True, configs), strict=False):
        if needed or _possible(place):
            _move(tree, place)
        else:
            os.close(tree)
    return unprivileged


def _possible(place: str) -> bool:
    try:
        check_place(place)
    except AttachError:
        return False
    return os.path.isdir(place) or not os.path.lexists(place)


def configs_dir(target_dir: str) -> str:
    """Where configs go: ``/run/configs`` for ``/run/secrets``."""
    return os.path.join(os.path.dirname(target_dir), "configs")


def paths(files: Sequence[Mapping[str, str]], target_dir: str) -> list[str]:
    """Where the files of an answer are, in its order."""
    directories = {"secret": target_dir}
    return [f"{directories.get(file['Kind']) or configs_dir(target_dir)}/{file['Target']}" for file in files]


def _leave(ids: tuple[int, int] | None) -> bool:
    """Whether it took a user namespace."""
    unprivileged = ids is not None or not _privileged()
    if unprivileged:
        _leave_as(*(ids or (os.geteuid(), os.getegid())))
    with _Refusing(_DETACH, "/"):
        mount.mount(None, "/", flags=mount.MS_REC | mount.MS_SLAVE)
    for place in _daemons_mounts():
        _leave_mount(place)
    return unprivileged


def _leave_mount(place: str) -> None:
    """In a user namespace the mounts that it began with are locked (EINVAL), or lie where this user cannot go (EACCES).
    There this one is closed to all but root of the host, also to file handles; where that is who we are, we had it
    before we were a task.
    """
    with _Refusing("leave the daemon's mount at", place):
        try:
            mount.umount2(place, mount.MNT_DETACH)
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.EACCES):
                raise


def _privileged() -> bool:
    """Make a mount namespace, if we may."""
    try:
        namespaces.unshare(namespaces.CLONE_NEWNS)
    except PermissionError:
        return False
    except OSError as exc:
        raise AttachError(f"cannot make a mount namespace: {exc.strerror}") from None
    return True


def _leave_as(uid: int, gid: int) -> None:
    try:
        namespaces.own_user_namespace(uid, gid)
    except OSError as exc:
        failure = AttachError(f"cannot make a user namespace: {exc.strerror}")
        failure.add_note(_USER_NAMESPACES_HINT)
        failure.add_note(_ROOT_HINT)
        raise failure from None


def _daemons_mounts() -> list[str]:
    """Where whole file systems of secretfs are mounted, from proc_pid_mountinfo(5): root in a task, who knows the id of
    another, would find its tree there.
    """
    with open("/proc/self/mountinfo", "rb") as file:
        lines = [line.partition(b" - ") for line in file]
    fields = [before.split() for before, _, after in lines if after.startswith(b"fuse.secretfs ")]
    return [_unescaped(place) for _, _, _, root, place, *_ in fields if root == b"/"]


def _unescaped(place: bytes) -> str:
    """Blank, tab, newline and backslash are three octal digits after a backslash there."""
    parts = place.split(b"\\")
    return os.fsdecode(parts[0] + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts[1:]))


def _move(tree: int, place: str) -> None:
    with _Refusing(_MAKE, place):
        _make(place)
    with _Refusing("mount on", place):
        target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mount.move_mount(tree, "", target, "", _EMPTY_PATHS)
        finally:
            os.close(target)
            os.close(tree)


def _make(place: str) -> None:
    """As mkdir -p does it, open to all whatever the umask is: the program may run as another user."""
    umask = os.umask(0o022)
    try:
        os.makedirs(place, exist_ok=True)
    finally:
        os.umask(umask)


class _Refusing:
    """Turns an OSError inside into an AttachError that names place. (contextlib would cost 3 ms at each start.)"""

    __slots__ = ("act", "place")

    def __init__(self, act: str, place: str) -> None:
        self.act = act
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if isinstance(exc, OSError):
            raise _failure(exc, self.act, self.place) from None


def _failure(exc: OSError, act: str, place: str) -> AttachError:
    in_the_way = isinstance(exc, FileExistsError | NotADirectoryError)
    failure = AttachError(f"cannot {act} {place}: {'a file is in the way' if in_the_way else exc.strerror}")
    if act == _DETACH:  # AppArmor lets everybody make a user namespace, and do nothing in it
        failure.add_note(_USER_NAMESPACES_HINT)
        failure.add_note(_ROOT_HINT)
        return failure
    if act == _MAKE and isinstance(exc, PermissionError):
        failure.add_note(_MISSING_HINT.format(place=place))
    failure.add_note(_ELSEWHERE_HINT)
    return failure
