"""What control asks of root: a few fixed verbs, in threads.

A path into the mount is answered by fs; were it looked up in the supervisor's loop while fs is dead, nobody would be
left to start another.
"""

import contextlib
import errno
import os
import queue
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from secretfs.link import brokering, codec
from secretfs.link.codec import Frame
from secretfs.linux import namespaces, process, seqpacket
from secretfs.linux.mount import open_tree
from secretfs.supervisor import log, signals
from secretfs.supervisor.child import clean_environment
from secretfs.supervisor.members import Look, unless_gone
from secretfs.supervisor.telling import ran, signalled

_AREAS: Final = ("secrets", "configs")
_TASK: Final = re.compile(r"[0-9a-z]{25}")
_THREADS: Final = 8
_COMMANDS: Final = 8  # at once, on this host; the others wait for their turn
_MAX_COMMANDS: Final = 64  # that wait, each with a descriptor, or run: more would not have their turn within 600 s
_SEND_SECONDS: Final = 2.0
HELPER_SECONDS: Final = 8.0
_KINDS: Final = ("user", "pid", "mnt")
_DONE: Final = {"repair": "repaired", "drop": "mounts dropped"}


class Broker:
    """Answers go to the control process that asked, or nowhere."""

    def __init__(self, mountpoint: str, touch: Callable[[str], None], devices: Callable[[], Collection[str]]) -> None:
        """``touch`` is Holdings.touch, ``devices`` Record.devices."""
        self._mountpoint = mountpoint
        self._devices = devices
        self._touch = touch
        self._commands = ThreadPoolExecutor(_COMMANDS, "broker-command", signals.hold_back)
        self._threads = ThreadPoolExecutor(_THREADS, "broker", signals.hold_back)
        # One at a time: two repairs would put two mounts in the place of one, or look for those that are dropped. They
        # wait for each other in a line of their own, so that who attaches a task does not wait with them.
        self._mounts = ThreadPoolExecutor(1, "broker-mounts", signals.hold_back)
        self._under_way: set[Future[None]] = set()
        self._ordered: set[Future[None]] = set()
        self._scans: queue.SimpleQueue[tuple[socket.socket, brokering.AskMembers]] = queue.SimpleQueue()
        threading.Thread(target=self._scan_for_ever, name="broker-scan", daemon=True).start()

    def serve(self, end: socket.socket, frame: Frame, fds: list[int]) -> bool:
        """Take the frame if it is a question for the broker; its descriptors with it."""
        match frame, fds:
            case brokering.AskTreeFd(), []:
                self._do(self._tree_fd, end, frame)
            case brokering.AskNamespaces(), [pidfd]:
                self._do(self._namespaces, end, frame, pidfd)
            case brokering.AskRepair(), []:
                self._do(self._repair, end, frame, by=self._mounts)
            case brokering.AskDropMounts(), []:
                self._do(self._drop_mounts, end, frame, by=self._mounts)
            case brokering.AskMembers(), []:
                self._scans.put((end, frame))
            case _:
                return self._tell(end, frame, fds)
        return True

    @property
    def idle(self) -> bool:
        """Whether no thread may be waiting for an answer of fs."""
        return not self._under_way

    def _do(self, act: Callable[..., None], *arguments: object, by: ThreadPoolExecutor | None = None) -> None:
        future = (by or self._threads).submit(act, *arguments)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)

    def _tell(self, end: socket.socket, frame: Frame, fds: list[int]) -> bool:
        """As serve, for what tells tasks of changes."""
        match frame, fds:
            case brokering.AskTouch(), []:
                self._do(self._touched, end, frame)
            case brokering.AskSignal(), [pidfd]:
                self._do(self._signal, end, frame, pidfd)
            case brokering.AskCommand(), [pidfd]:
                self._order(end, frame, pidfd)
            case _:
                return False
        return True

    def _order(self, end: socket.socket, ask: brokering.AskCommand, pidfd: int) -> None:
        """Run it in its turn. Where too many wait, control is to come again."""
        if len(self._ordered) >= _MAX_COMMANDS:
            os.close(pidfd)
            self._do(_reply, end, brokering.Acted(ask.ask, errno.EAGAIN, 0))
            return
        future = self._commands.submit(self._command, end, ask, pidfd)
        self._ordered.add(future)
        future.add_done_callback(self._ordered.discard)

    def _tree_fd(self, end: socket.socket, ask: brokering.AskTreeFd) -> None:
        if not _TASK.fullmatch(ask.task) or ask.kind >= len(_AREAS):
            _reply(end, brokering.TreeFd(ask.ask, errno.EINVAL))
            return
        try:
            fd = open_tree(f"{self._mountpoint}/{ask.task}/{_AREAS[ask.kind]}")
        except OSError as refusal:
            _reply(end, brokering.TreeFd(ask.ask, refusal.errno or errno.EINVAL))
            return
        try:
            _reply(end, brokering.TreeFd(ask.ask, 0), [fd])
        finally:
            os.close(fd)

    def _namespaces(self, end: socket.socket, ask: brokering.AskNamespaces, pidfd: int) -> None:
        try:
            pid = process.pid_of(pidfd)
            inodes = [namespaces.ns_inode(pid, kind) for kind in _KINDS]
            process.pid_of(pidfd)  # still the same process: the number was not another's meanwhile
        except OSError as refusal:
            _reply(end, brokering.Namespaces(ask.ask, refusal.errno or errno.ESRCH, 0, 0, 0))
        else:
            _reply(end, brokering.Namespaces(ask.ask, 0, *inodes))
        finally:
            os.close(pidfd)

    def _repair(self, end: socket.socket, ask: brokering.AskRepair) -> None:
        replaced, failed = _helped("repair", self._mountpoint, devices=self._devices)
        _reply(end, brokering.Repaired(ask.ask, replaced, failed))

    def _drop_mounts(self, end: socket.socket, ask: brokering.AskDropMounts) -> None:
        if not _TASK.fullmatch(ask.task):
            _reply(end, brokering.MountsDropped(ask.ask, 0, 0))
            return
        gone, left = _helped("drop", self._mountpoint, ask.task, devices=self._devices)
        _reply(end, brokering.MountsDropped(ask.ask, gone, left))

    def _touched(self, end: socket.socket, ask: brokering.AskTouch) -> None:
        error = errno.EINVAL
        if _TASK.fullmatch(ask.task) and ask.kind < len(_AREAS):
            place = f"{ask.task}/{_AREAS[ask.kind]}" + (f"/{ask.target}" if ask.target else "")
            error = _error_of(lambda: self._touch(place))
        _reply(end, brokering.Acted(ask.ask, error, 0))

    def _signal(self, end: socket.socket, ask: brokering.AskSignal, pidfd: int) -> None:
        """Control may name any process: only those of a task get a signal, and only one that is known."""
        try:
            error = _error_of(lambda: signalled(pidfd, ask.signal, ask.task, ask.mnt, self._devices()))
        finally:
            os.close(pidfd)
        _reply(end, brokering.Acted(ask.ask, error, 0))

    def _command(self, end: socket.socket, ask: brokering.AskCommand, pidfd: int) -> None:
        code = 0

        def act() -> None:
            nonlocal code
            code = ran(pidfd, ask.words, ask.task, ask.mnt, self._devices())

        try:
            error = _error_of(act)
        finally:
            os.close(pidfd)
        _reply(end, brokering.Acted(ask.ask, error, code))

    def _scan_for_ever(self) -> None:
        """One look at /proc answers all who asked before it began."""
        signals.hold_back()
        while True:
            asks = [self._scans.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    asks.append(self._scans.get_nowait())
            try:
                look = Look(self._devices())
                for end, ask in asks:
                    _send_members(end, ask, look)
            except OSError as failure:  # no answer: "nobody is there" would end a task
                log.warning("processes cannot be looked at", error=str(failure))


def _error_of(act: Callable[[], None]) -> int:
    """0, or the errno of what was refused."""
    try:
        act()
    except (OSError, ValueError) as refusal:  # ValueError: a zero byte in a path
        return getattr(refusal, "errno", None) or errno.EINVAL
    return 0


def own_identity(home_mnt: int) -> brokering.Identity:
    """The daemon's own namespaces; ``home_mnt``: the mount namespace that it was started in, if it has left that."""
    user, pid, mnt = (namespaces.ns_inode("self", kind) for kind in _KINDS)
    return brokering.Identity(user, pid, home_mnt or mnt)


def _helped(module: str, *words: str, devices: Callable[[], Collection[str]]) -> tuple[int, int]:
    """What a helper that goes into mount namespaces says: with how many mounts it is done, and with how many not. One
    that failed altogether is one not.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", f"secretfs.supervisor.{module}", *words, *devices()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=clean_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for the supervisor: the mounts are finished first
            cwd="/",
            timeout=HELPER_SECONDS,
            check=True,
        )
        well, ill = map(int, done.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError) as failure:
        log.error(f"{module} failed", error=str(failure))
        return 0, 1
    if well or ill:
        log.info(_DONE[module], mounts=well, failed=ill)
    return well, ill


def _send_members(end: socket.socket, ask: brokering.AskMembers, look: Look) -> None:
    pids = look.members(ask.task, ask.mnt)
    chunks = [pids[at : at + brokering.MAX_FDS] for at in range(0, len(pids), brokering.MAX_FDS)] or [[]]
    for index, chunk in enumerate(chunks):
        with contextlib.ExitStack() as opened:
            pidfds = [fd for pid in chunk if (fd := _pidfd(pid, ask, look, opened)) is not None]
            _reply(end, brokering.Members(ask.ask, int(index + 1 < len(chunks))), pidfds)


def _pidfd(pid: int, ask: brokering.AskMembers, look: Look, opened: contextlib.ExitStack) -> int | None:
    """A pidfd of the process, if the number was not another's meanwhile; ``opened`` closes it."""
    with unless_gone():
        fd = os.pidfd_open(pid)
        opened.callback(os.close, fd)
        if look.confirms(pid, ask.task, ask.mnt):
            return fd
    return None


def _reply(end: socket.socket, frame: Frame, fds: list[int] | None = None) -> None:
    packet = codec.encode(frame)
    poll = select.poll()  # select(2) knows no descriptor above 1023
    try:
        poll.register(end, select.POLLOUT)
        while poll.poll(_SEND_SECONDS * 1000):
            with contextlib.suppress(BlockingIOError):
                return seqpacket.send(end, packet, fds or ())
    except (OSError, ValueError) as gone:  # ValueError: the loop closed the socket of a dead control meanwhile
        log.warning("answer not delivered", error=str(gone))
