"""``secretfs mount``: a tree at any path, for as long as this process lives and nobody takes the mount away. The rule:
it is this process that is the task, so whatever ends it, kill -9 too, ends the task; the daemon then drops the mount.
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from enum import Enum

from secretfs.errors import AttachError
from secretfs.linux import systemd
from secretfs.runtimes import connection
from secretfs.runtimes.place import Place
from secretfs.supervisor.drop import dropped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CHANGED = select.POLLPRI  # of a mount table, see proc_pid_mounts(5)


class End(Enum):
    """Why it is over."""

    STOPPED = "a signal"
    UNMOUNTED = "somebody took the mount away"
    EMPTY = "the last process of the other mount namespace ended"


def serve(
    path: str,
    *,
    socket_path: str,
    request: Mapping[str, object],
    ready: Callable[[str, str], None],
    detach: Callable[[str], None],
) -> End:
    """Mount at path what the daemon at socket_path gives for the request (Service, Secrets), and wait for an end.

    ``ready`` is called with the task and the true path when it is mounted; ``detach`` with the task at the end, and is
    expected to flush it. What it raises is raised when the mount is gone. Raises: AttachError.
    """
    check_root()
    with Place(path) as place:
        task = _attached(place, socket_path, request)
        with _signals() as asked:
            try:
                ready(task, place.path)
                systemd.notify("READY=1")
                return _end(place, task, asked)
            finally:
                systemd.notify("STOPPING=1")
                _take_away(place, task, detach)


def check_root() -> None:
    """Raises: AttachError for any other user."""
    if os.geteuid() != 0:
        refusal = AttachError(f"uid {os.geteuid()} may not mount a tree: only root may")
        refusal.add_note("use sudo; or 'secretfs run', where the service allows it")
        raise refusal


def _attached(place: Place, socket_path: str, request: Mapping[str, object]) -> str:
    """Become a task, with its tree in place. A signal ends us as any other process here: the daemon takes it back."""
    daemon, answer = connection.attached(socket_path, {**request, "TargetDir": place.path, "Mount": True})
    with daemon:
        for tree in answer.trees[1:]:  # the first is that of the secrets
            os.close(tree)
        place.put(answer.trees[0])
        try:
            connection.mounted(daemon)
        except BaseException:
            _drop(place, answer.task)
            raise
    return answer.task


def _end(place: Place, task: str, asked: socket.socket) -> End:
    table, someone = place.watched
    while place.tree(task) is not None:
        poll = select.poll()
        poll.register(table, _CHANGED)
        poll.register(asked, select.POLLIN)
        if someone is not None:
            poll.register(someone, select.POLLIN)
        events = dict(poll.poll())
        if asked.fileno() in events:
            return End.STOPPED
        if someone in events:
            if not place.inhabited():
                return End.EMPTY
            table, someone = place.watched
    return End.UNMOUNTED


def _take_away(place: Place, task: str, detach: Callable[[str], None]) -> None:
    """The daemon flushes the tree and drops the mount; one that is away cannot, so the mount is dropped here too."""
    try:
        detach(task)
    finally:
        _drop(place, task)


def _drop(place: Place, task: str) -> None:
    mount = place.tree(task)
    if mount is not None:
        dropped(task, mount.device)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that is readable once a signal has asked for the end. One that is ignored (nohup) stays so."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        yield reading
        signal.set_wakeup_fd(-1)
