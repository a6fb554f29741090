"""Putting a task's trees in place. The rule: a mount namespace of our own first, so that nobody else ever
sees them.

What others mount later still arrives here (``/`` becomes a slave), what is mounted here goes nowhere.
"""

import os
from collections.abc import Sequence

from secretfs.errors import AttachError
from secretfs.linux import mount, namespaces

_EMPTY_PATHS = mount.MOVE_MOUNT_F_EMPTY_PATH | mount.MOVE_MOUNT_T_EMPTY_PATH


def put_in_place(trees: Sequence[int], target_dir: str) -> None:
    """Move the detached mounts: the first to target_dir, a second to ``configs`` beside it. Closes their
    descriptors. This process has a mount namespace of its own from here on. Raises: AttachError.
    """
    places = (target_dir, configs_dir(target_dir))
    _leave()
    for tree, place in zip(trees, places, strict=False):
        _move(tree, place)


def configs_dir(target_dir: str) -> str:
    """Where configs go: ``/run/configs`` for ``/run/secrets``."""
    return os.path.join(os.path.dirname(target_dir), "configs")


def _leave() -> None:
    try:
        namespaces.unshare(namespaces.CLONE_NEWNS)
    except OSError as exc:
        failure = AttachError(f"cannot make a mount namespace: {exc.strerror}")
        failure.add_note("run it as root; in a container, with the capability SYS_ADMIN")
        raise failure from None
    with _Refusing("make a slave mount of", "/"):
        mount.mount(None, "/", flags=mount.MS_REC | mount.MS_SLAVE)
    for place in _daemons_mounts():
        with _Refusing("leave the daemon's mount at", place):
            mount.umount2(place, mount.MNT_DETACH)


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
    with _Refusing("make the target directory", place):
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
        if isinstance(exc, FileExistsError | NotADirectoryError):
            raise _failure(f"cannot {self.act} {self.place}: a file is in the way") from None
        if isinstance(exc, OSError):
            raise _failure(f"cannot {self.act} {self.place}: {exc.strerror}") from None


def _failure(text: str) -> AttachError:
    failure = AttachError(text)
    failure.add_note("choose another directory with --target-dir")
    return failure
