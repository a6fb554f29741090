"""The supervisor's loop: start, watch, replace; and the end in order.

Nothing in it may raise: each word to a child may find it dead, which is no error here. What it cannot mend it ends by
aborting the connection: clients then get ENOTCONN, while a crash loop would leave them in a state that no signal ends.
"""

import contextlib
import os
import resource
import selectors
import signal
import socket
import sys
import time
from typing import Final

from secretfs.errors import SetupError
from secretfs.link import frames
from secretfs.link.frames import Frame
from secretfs.link.spawn import ControlStart, FsStart, SupervisorStart
from secretfs.linux import process, seqpacket
from secretfs.linux.terminal import one_line
from secretfs.supervisor import log, setup
from secretfs.supervisor.arena import ArenaMemory, Mailbox
from secretfs.supervisor.broker import Broker, own_identity
from secretfs.supervisor.child import BEAT_SECONDS, GONE, Child
from secretfs.supervisor.connection import Connection

GIVE_UP_SECONDS: Final = 30.0  # without an fs that says Ready
STOP_CONTROL_SECONDS: Final = 3.5  # of the five that SIGTERM may take
STOP_FS_SECONDS: Final = 0.7
MAX_DELAY_SECONDS: Final = 1.0
EXIT_REFUSED: Final = 1
EXIT_CONFIG: Final = 78  # sysexits.h: control says that no restart will help; it has said why
EXIT_UNMOUNTED: Final = 3  # fs/main.py
_FS: Final = "secretfs.fs"
_CONTROL: Final = "secretfs.control"


class Supervisor:
    """What outlives fs and control, and the two."""

    def __init__(self, start: SupervisorStart) -> None:
        """Claim directories, mount, listen. Raises SetupError."""
        self._start = start
        self._ids = (setup.fs_ids(), setup.control_ids())
        self._claim()
        self._arena = ArenaMemory(start.arena_bytes)
        gid = setup.api_gid()
        self._sockets = (
            setup.listener(f"{start.runtime_dir}/api.sock", socket.SOCK_STREAM, mode=0o660, gid=gid),
            setup.listener(f"{start.runtime_dir}/attach.sock", socket.SOCK_SEQPACKET, mode=0o600),
        )
        self._connection = Connection(start.mountpoint)  # last: whatever else is refused leaves no mount behind
        self._broker = Broker(start.mountpoint)
        self._mailbox: Mailbox | None = None
        self._selector = selectors.DefaultSelector()
        self._children: dict[str, Child] = {}
        self._dead: list[Child] = []
        self._restart_at: dict[str, float] = {}
        self._failures = {_FS: 0, _CONTROL: 0}
        self._began = self._last_ready = time.monotonic()
        self._initialised = False  # the kernel has had an answer to INIT on this connection
        self._announced = False
        self._stopping: float | None = None
        self._exit_code: int | None = None

    def run(self) -> int:
        """Until SIGTERM, SIGINT, or the end of hope. Returns the exit code."""
        self._listen_to_signals()
        self._start_child(_FS)
        self._start_child(_CONTROL)
        while self._exit_code is None:
            for key, _ in self._selector.select(BEAT_SECONDS):
                key.data()
            self._tend()
        self._end()
        return self._exit_code

    def stop(self) -> None:
        """Begin the end in order: control flushes every tree and says Stopped."""
        if self._stopping is None:
            self._stopping = time.monotonic()
            log.info("stopping")
            _sd_notify("STOPPING=1")
            if _CONTROL in self._children:
                self._children[_CONTROL].send(frames.Stop())
            else:
                self._exit_code = 0

    # -- what it stands on -------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        start, control = self._start, self._ids[1]
        setup.made_directory(start.runtime_dir, "the runtime directory", mode=0o755, owners=(0,))
        setup.made_directory(start.state_dir, "the state directory", mode=0o700, owners=(0, control.uid))
        self._locks = (setup.locked(start.runtime_dir), setup.locked(start.state_dir))
        setup.give_state(start.state_dir, control)
        setup.clear_mountpoint(start.mountpoint)

    def _listen_to_signals(self) -> None:
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
        self._wakeup = (reading, writing)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(reading, selectors.EVENT_READ, lambda: _drain(reading))

    # -- starting ----------------------------------------------------------------------------------------------------

    def _start_child(self, module: str) -> None:
        self._restart_at.pop(module, None)
        try:
            child = self._started_fs() if module == _FS else self._started_control()
        except OSError as refusal:
            log.error("start failed", module=module, error=str(refusal))
            self._restart_later(module)
            return
        self._children[module] = child
        self._selector.register(child.end, selectors.EVENT_READ, lambda: self._hear(child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: None)
        if module == _CONTROL:
            child.send(own_identity())
        self._wire()

    def _started_fs(self) -> Child:
        arena, ids = self._arena, self._ids[0]
        init = self._connection.init_pipe()
        try:
            fds = (self._connection.fd, init, arena.fd)
            words = FsStart(
                0, *fds, arena.layout.data_bytes, arena.usable, ids.uid, ids.gid, self._start.spin_us
            ).words()
            return Child(_FS, words[1:], fds)
        finally:
            os.close(init)

    def _started_control(self) -> Child:
        ids, start = self._ids[1], self._start
        api, attach = (end.fileno() for end in self._sockets)
        words = ControlStart(0, api, attach, ids.uid, ids.gid, start.state_dir, start.root_key).words()
        return Child(_CONTROL, words[1:], (api, attach))

    def _wire(self) -> None:
        """A fresh socket and a fresh mailbox between fs and control, whichever of the two is new."""
        if len(self._children) < len(self._failures):
            return
        try:
            mailbox = Mailbox()
        except OSError as refusal:
            log.error("no mailbox", error=str(refusal))
            return
        if self._mailbox:
            self._mailbox.end()
        self._mailbox = mailbox
        for child, end in zip(self._children.values(), seqpacket.pair(), strict=True):
            with end:
                child.send(frames.Wire(), [end.fileno(), mailbox.fd])

    # -- hearing -----------------------------------------------------------------------------------------------------

    def _hear(self, child: Child) -> None:
        received = child.receive()
        if received is None:
            return
        frame, fds = received
        if child.module != _CONTROL or not self._broker.serve(child.end, frame, fds):
            for fd in fds:
                os.close(fd)
            self._obey(child, frame)

    def _obey(self, child: Child, frame: Frame) -> None:
        """Each of the two gets what it is there for: what is broken into must not speak for the other."""
        match frame:
            case frames.Pong(beat):
                child.answered(beat)
            case frames.Ready():
                self._is_ready(child)
            case frames.Grow(wanted) if child.module == _FS:
                error = self._arena.grow(wanted)
                child.send(frames.Grown(self._arena.usable, error))
            case frames.Stopped() if child.module == _CONTROL:
                self._exit_code = 0
            case _:
                log.error("unexpected frame", module=child.module, frame=type(frame).__name__)

    def _is_ready(self, child: Child) -> None:
        child.ready = True
        self._failures[child.module] = 0
        if child.module == _FS:
            self._initialised = True
            self._last_ready = time.monotonic()
        log.info("child ready", module=child.module, pid=child.pid)
        if not self._announced and all(other.ready for other in self._children.values()) and len(self._children) == 2:
            self._announced = True
            start = self._start
            log.info("ready", mountpoint=start.mountpoint, api=f"unix://{start.runtime_dir}/api.sock")
            _sd_notify("READY=1")

    # -- tending -----------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            cause = child.dead()
            if cause:
                self._bury(child, cause)
            else:
                child.beat()
        self._dead = [child for child in self._dead if child.exit_code() is None]
        for module, at in list(self._restart_at.items()):
            if now >= at and self._stopping is None:
                self._start_child(module)
        self._give_up_or_not(now)

    def _give_up_or_not(self, now: float) -> None:
        fs = self._children.get(_FS)
        if fs and fs.ready:
            self._last_ready = now
        if now - self._last_ready > GIVE_UP_SECONDS:
            log.error("giving up: no fs became ready", seconds=GIVE_UP_SECONDS)
            self._exit_code = EXIT_REFUSED
        if not self._announced and now - self._began > GIVE_UP_SECONDS:
            log.error("giving up: the daemon did not become ready", seconds=GIVE_UP_SECONDS)
            self._exit_code = EXIT_REFUSED
        if self._stopping is not None and now - self._stopping > STOP_CONTROL_SECONDS:
            log.warning("control did not stop in time")
            self._exit_code = 0

    def _bury(self, child: Child, cause: str) -> None:
        code = child.last_word() if cause == GONE else None
        log.warning("child died", module=child.module, pid=child.pid, cause=cause, code=code)
        self._selector.unregister(child.end)
        self._selector.unregister(child.pidfd)
        child.kill()
        del self._children[child.module]
        self._dead.append(child)
        if self._stopping is not None and child.module == _CONTROL:
            self._exit_code = 0
        elif code == EXIT_CONFIG and not self._announced:
            self._exit_code = EXIT_REFUSED
        elif child.module == _FS:
            self._succeed_fs(child, code)
        else:
            self._restart_later(_CONTROL)

    def _succeed_fs(self, child: Child, code: int | None) -> None:
        """RESEND at once, before the dead one is reaped: its own thread may wait for an answer of its successor."""
        try:
            if not self._initialised or code == EXIT_UNMOUNTED:
                self._mount_anew()
            else:
                self._connection.resend()
        except (OSError, SetupError) as refusal:
            log.error("giving up: no successor of fs can serve", error=str(refusal))
            self._exit_code = EXIT_REFUSED
            return
        self._restart_later(child.module)

    def _mount_anew(self) -> None:
        """INIT is sent once: if the first fs died before its answer, or the mount was ended outside, start over."""
        self._connection.end()
        self._initialised = False
        self._connection = Connection(self._start.mountpoint)
        log.warning("mounted anew", mountpoint=self._start.mountpoint)

    def _restart_later(self, module: str) -> None:
        """At once the first time; later and later while none becomes ready."""
        failures = self._failures[module]
        self._failures[module] = failures + 1
        delay = restart_delay(failures)
        self._restart_at[module] = time.monotonic() + delay
        if not delay and self._stopping is None:
            self._start_child(module)

    # -- ending ------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Fs ends first, then its memory is wiped, then the mount is aborted wherever it still is."""
        for child in self._children.values():
            child.send(frames.Stop())
        for module, child in self._children.items():
            if not child.wait(STOP_FS_SECONDS):
                log.warning("killed at the end", module=module)
            child.kill()
        self._arena.wipe()
        if self._mailbox:
            self._mailbox.end()
        self._connection.end()
        for name in ("api.sock", "attach.sock"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._start.runtime_dir}/{name}")
        log.info("stopped")


def restart_delay(failures: int) -> float:
    """Seconds to wait before another start, after so many that did not become ready."""
    return min(0.05 * ((1 << min(failures, 10)) - 1), MAX_DELAY_SECONDS)


def main() -> int:
    """Run as ``sys.argv`` says (link/spawn.py)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process.set_dumpable(False)
    try:
        setup.check_root()
        supervisor = Supervisor(SupervisorStart.parse(sys.argv[1:]))
    except (SetupError, OSError) as refusal:
        sys.stderr.write(f"secretfs: error: {one_line(str(refusal))}\n")
        return EXIT_REFUSED
    return supervisor.run()


def _drain(end: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while end.recv(512):
            pass


def _sd_notify(state: str) -> None:
    """sd_notify(3), where systemd asked for it."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end, contextlib.suppress(OSError):
        end.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
