"""What only a try can tell. Rule: each try is made in a child process that can be left behind.

A look at a mount may wait for whoever serves it, and not even SIGKILL ends that wait once the request was taken. So the
child is killed at its deadline and not waited for; it ends when it can.
"""

import contextlib
import errno
import os
import select
import signal
import struct
import time
from collections.abc import Callable
from typing import Final

from secretfs.doctor.facts import Answer, Step, Trial
from secretfs.linux import fuse, namespaces
from secretfs.linux.mount import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    mount,
)
from secretfs.linux.process import drop_to

SECONDS: Final = 2.0
_DEVICE: Final = "/dev/fuse"
_FLAGS: Final = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
_ENDED: Final = (errno.ENOTCONN, errno.ECONNABORTED)
_RESULT: Final = struct.Struct("=ii")
_STEPS: Final = tuple(Step)
_ANY_UID: Final = 75301  # what fs runs as: it may do nothing
_READABLE_INIT: Final = 1 << 17  # FUSE_MIN_READ_BUFFER is 8192


def in_child(act: Callable[[], tuple[int, int]], seconds: float = SECONDS) -> tuple[int, int] | None:
    """The two numbers that ``act`` yields in a child process; None when it yields none in time."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _act(act, writing)
    os.close(writing)
    try:
        ready = select.select([reading], [], [], seconds)[0]
        answer = os.read(reading, _RESULT.size) if ready else b""
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        _reaped(pid)
    return _RESULT.unpack(answer) if len(answer) == _RESULT.size else None


def fuse_trial() -> Trial:
    """Mount a FUSE file system where nobody sees it, read INIT, and ask for RESEND; all of it is gone again."""
    found = in_child(_try_fuse)
    if found is None:
        return Trial(Step.SILENT, errno.ETIMEDOUT)
    return Trial(_STEPS[found[0]], found[1])


def namespace_error() -> int | None:
    """The errno of a user namespace for a user without privileges; 0: allowed; None: it cannot be told."""
    found = in_child(_try_namespace)
    return None if found is None else found[1]


def answer_of(path: str) -> Answer:
    """Whether the mount at this path is served. The path may lead through /proc/PID/root."""
    found = in_child(lambda: _try_statfs(path))
    if found is None:
        return Answer.SILENT
    if found[1] == 0:
        return Answer.LIVES
    return Answer.OVER if found[1] in _ENDED else Answer.UNSEEN


def _act(act: Callable[[], tuple[int, int]], writing: int) -> None:
    try:
        result = act()
    except OSError as failure:
        result = (0, failure.errno or errno.EIO)
    os.write(writing, _RESULT.pack(*result))
    os._exit(0)


def _reaped(pid: int) -> None:
    """A child that waits in the kernel is left to init."""
    until = time.monotonic() + SECONDS / 10
    pidfd = os.pidfd_open(pid)
    try:
        select.select([pidfd], [], [], max(0.0, until - time.monotonic()))
    finally:
        os.close(pidfd)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _try_fuse() -> tuple[int, int]:
    step = Step.NAMESPACE
    try:
        _own_mounts()
        step = Step.DEVICE
        fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        step = Step.MOUNT
        mount("secretfs", "/", "fuse.secretfs-doctor", _FLAGS, f"fd={fd},rootmode=40000,user_id=0,group_id=0")
        step = Step.INIT
        select.select([fd], [], [], SECONDS)
        os.read(fd, _READABLE_INIT)
        step = Step.RESEND
        fuse.resend(fd)
    except OSError as refusal:
        return _STEPS.index(step), refusal.errno or errno.EIO
    return _STEPS.index(Step.DONE), 0


def _own_mounts() -> None:
    """A mount namespace that nothing leaves; for an ordinary user in a user namespace, as its root."""
    if os.geteuid() == 0:
        namespaces.unshare(namespaces.CLONE_NEWNS)
    else:
        namespaces.own_user_namespace(0, 0)
    mount(None, "/", flags=MS_REC | MS_PRIVATE)


def _try_namespace() -> tuple[int, int]:
    if os.geteuid() == 0:
        drop_to(_ANY_UID, _ANY_UID)
    namespaces.unshare(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS)
    return 0, 0


def _try_statfs(path: str) -> tuple[int, int]:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    os.fstatvfs(fd)
    return 0, 0
