"""The supervisor's loop: start, watch, replace; and the end in order.

Nothing in it may raise: each word to a child may find it dead, which is no error here. What it cannot mend it ends by
aborting the connection: clients then get ENOTCONN, while a crash loop would leave them in a state that no signal ends.
The next connection is for everybody who still lives.
"""

import os
import resource
import signal
import sys
import time
from typing import Final

from secretfs.errors import LinkError, SetupError
from secretfs.link import pulse, serving
from secretfs.link.codec import Frame
from secretfs.link.spawn import SupervisorStart
from secretfs.linux import process, seqpacket, systemd
from secretfs.linux.terminal import one_line
from secretfs.supervisor import log, setup, signals
from secretfs.supervisor.arena import Mailbox
from secretfs.supervisor.broker import Broker, own_identity
from secretfs.supervisor.child import UNKNOWN, Child
from secretfs.supervisor.holdings import CONTROL, FS, claimed, started_control, started_fs
from secretfs.supervisor.succession import Succession
from secretfs.supervisor.upgrade import Upgrade
from secretfs.supervisor.watch import Watch

GIVE_UP_SECONDS: Final = 30.0  # until the first time that all are ready
STUCK_SECONDS: Final = 30.0  # in which fs was started again and again, and nobody was served
STOP_CONTROL_SECONDS: Final = 3.5  # of the five that SIGTERM may take
STOP_FS_SECONDS: Final = 0.7
MAX_DELAY_SECONDS: Final = 1.0
EXIT_REFUSED: Final = 1
EXIT_CONFIG: Final = 78  # sysexits.h: control says that no restart will help; it has said why
REPLACED: Final = "replaced"
_KILLED: Final = (None, UNKNOWN, -signal.SIGKILL)  # exit codes; None: it was killed here, or is not reaped yet


class Supervisor:
    """The two children, and what outlives them."""

    def __init__(self, start: SupervisorStart) -> None:
        """Claim directories, mount, listen; or adopt the fs that was left. Raises SetupError."""
        self._start = start
        self._ids = (setup.fs_ids(), setup.control_ids())
        self._held = claimed(start, self._ids[1])
        self._broker = Broker(start.mountpoint, self._held.touch, self._held.record.devices)
        self._mailbox: Mailbox | None = None
        self._children: dict[str, Child] = {}
        adopted = self._held.fs
        self._watch = Watch(besides=adopted.pid if adopted else 0)
        self._succession = Succession(self._held, self._watch, self._started_standby)
        self._restart_at: dict[str, float] = {}
        self._failures = {FS: 0, CONTROL: 0}
        self._began = time.monotonic()
        self._adopted = adopted is not None
        self._announced = False
        self._upgrade = Upgrade(start)
        self._stopping: float | None = None
        self._exit_code: int | None = None

    def run(self) -> int:
        """Until SIGTERM, SIGINT, or the end of hope. Returns the exit code."""
        self._listen_to_signals()
        if self._held.fs:
            self._watch.listen_to(self._held.fs, self._hear)
            self._enter(self._held.fs)
        else:
            self._start_child(FS)
        self._start_child(CONTROL)
        while self._exit_code is None:
            self._watch.turn()
            self._tend()
        if self._adopted and not self._announced and self._stopping is None:
            self._leave()
        else:
            self._end()
        return self._exit_code

    def stop(self) -> None:
        """Begin the end in order: control flushes every tree and says Stopped."""
        if self._stopping is None:
            self._stopping = time.monotonic()
            self._upgrade.end()
            log.info("stopping")
            systemd.notify("STOPPING=1")
            if CONTROL in self._children:
                self._children[CONTROL].send(pulse.Stop())
            else:
                self._exit_code = 0

    def _listen_to_signals(self) -> None:
        self._watch.listen_to_signals()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        signal.signal(signal.SIGHUP, lambda *_: self._upgrade.want())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signals.release()

    # -- starting ----------------------------------------------------------------------------------------------------

    def _start_child(self, module: str) -> None:
        self._restart_at.pop(module, None)
        try:
            child = self._started_fs() if module == FS else started_control(self._held, self._ids[1], self._start)
        except OSError as refusal:
            log.error("start failed", module=module, error=str(refusal))
            self._restart_later(module)
            return
        self._watch.listen_to(child, self._hear)
        self._enter(child)

    def _enter(self, child: Child) -> None:
        """It is the one of its kind from here on."""
        self._children[child.module] = child
        if child.module == CONTROL:
            child.send(own_identity(self._start.home_mnt))
        self._wire()

    def _started_fs(self, *, standby: bool = False) -> Child:
        return started_fs(self._held, self._ids[0], spin_us=self._start.spin_us, standby=standby)

    def _started_standby(self) -> Child:
        child = self._started_fs(standby=True)
        self._watch.listen_to(child, self._hear)
        return child

    def _wire(self) -> None:
        """A fresh socket and a fresh mailbox between fs and control, whichever of the two is new."""
        if len(self._children) < len(self._failures):
            return
        try:
            ends, mailbox = seqpacket.pair(), Mailbox()
        except OSError as refusal:
            log.error("fs and control cannot be joined: control starts anew", error=str(refusal))
            self._children[CONTROL].end_now()
            return
        if self._mailbox:
            self._mailbox.end()
        self._mailbox = mailbox
        for child, end in zip(self._children.values(), ends, strict=True):
            with end:
                child.send(pulse.Wire(), [end.fileno(), mailbox.fd])

    # -- hearing -----------------------------------------------------------------------------------------------------

    def _hear(self, child: Child) -> None:
        received = child.receive()
        if received is None:
            return
        frame, fds = received
        if child.module != CONTROL or not self._broker.serve(child.end, frame, fds):
            for fd in fds:
                os.close(fd)
            self._obey(child, frame)

    def _obey(self, child: Child, frame: Frame) -> None:
        """Each of the two gets what it is there for: what is broken into must not speak for the other."""
        match frame:
            case pulse.Pong(beat):
                child.answered(beat)
            case pulse.Ready():
                self._is_ready(child)
            case serving.Grow(wanted) if child.module == FS:
                error = self._held.arena.grow(wanted)
                child.send(serving.Grown(self._held.arena.usable, error))
            case serving.Loaded() if child.module == FS:
                if self._succession.loaded(child):
                    self._replace_fs()
            case pulse.Stopped() if child.module == CONTROL:
                self._exit_code = 0
            case _:
                log.error("unexpected frame", module=child.module, frame=type(frame).__name__)

    def _is_ready(self, child: Child) -> None:
        child.ready = True
        if child.module == FS:
            self._succession.serves()
        else:
            self._failures[CONTROL] = 0
        log.info("child ready", module=child.module, pid=child.pid)
        if not self._announced and all(other.ready for other in self._children.values()) and len(self._children) == 2:
            self._announce()

    def _announce(self) -> None:
        self._announced = True
        start = self._start
        log.info("ready", mountpoint=start.mountpoint, api=f"unix://{start.runtime_dir}/api.sock")
        systemd.notify(*([f"MAINPID={os.getpid()}"] if start.takeover else []), "READY=1")
        if self._adopted and (start.takeover or self._held.outdated):
            self._succession.replace()

    # -- tending -----------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            cause = child.dead()
            if cause:
                self._bury(child, cause)
            else:
                child.beat()
        self._watch.reap()
        for module, at in list(self._restart_at.items()):
            if now >= at and self._stopping is None:
                self._start_child(module)
        calm = self._announced and self._stopping is None
        fs = self._children.get(FS)
        self._succession.tend(calm=calm and fs is not None and fs.ready)
        if calm and not self._succession.under_way:
            self._upgrade.tend(idle=self._broker.idle)
        self._tend_mount()
        self._give_up_or_not(now)

    def _tend_mount(self) -> None:
        try:
            if self._held.connection.kept():
                log.warning("the mount was taken away: it is back", mountpoint=self._start.mountpoint)
        except OSError as refusal:
            log.error("the mount was taken away", mountpoint=self._start.mountpoint, error=str(refusal))

    def _give_up_or_not(self, now: float) -> None:
        unserved = self._succession.unserved()
        if not unserved:
            self._failures[FS] = 0
        if unserved > STUCK_SECONDS and self._announced and self._stopping is None:
            self._start_over()
        if not self._announced and now - self._began > GIVE_UP_SECONDS:
            log.error("giving up: the daemon did not become ready", seconds=GIVE_UP_SECONDS)
            self._exit_code = EXIT_REFUSED
        if self._stopping is not None and now - self._stopping > STOP_CONTROL_SECONDS:
            log.warning("control did not stop in time")
            self._exit_code = 0

    def _bury(self, child: Child, cause: str) -> None:
        code = self._watch.forget(child, cause)
        del self._children[child.module]
        if self._stopping is not None and child.module == CONTROL:
            self._exit_code = 0
        elif code == EXIT_CONFIG and not self._announced:
            self._exit_code = EXIT_REFUSED
        elif child.module == FS:
            self._succeed_fs(killed=code in _KILLED)
        else:
            self._restart_later(CONTROL)

    def _succeed_fs(self, *, killed: bool) -> None:
        try:
            successor = self._succession.successor(killed=killed)
        except (OSError, SetupError) as refusal:
            self._give_up(refusal)
            return
        if successor:
            self._enter(successor)
        else:
            self._restart_later(FS)

    def _start_over(self) -> None:
        fs = self._children.pop(FS, None)
        if fs:
            self._watch.forget(fs, "useless")
        try:
            self._succession.start_over()
        except (OSError, SetupError) as refusal:
            self._give_up(refusal)
        else:
            self._start_child(FS)

    def _give_up(self, refusal: Exception) -> None:
        log.error("giving up: no successor of fs can serve", error=str(refusal))
        self._exit_code = EXIT_REFUSED

    def _replace_fs(self) -> None:
        fs = self._children.get(FS)
        if fs:
            self._succession.end_before(fs)
            self._bury(fs, REPLACED)

    def _restart_later(self, module: str) -> None:
        """At once the first time; later and later while none becomes ready."""
        failures = self._failures[module]
        self._failures[module] = failures + 1
        delay = restart_delay(failures)
        self._restart_at[module] = time.monotonic() + delay
        if not delay and self._stopping is None:
            self._start_child(module)

    # -- ending ------------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """An fs was adopted, and this start is of no use. fs serves on, and waits for a better one."""
        log.error("not ready: fs serves on for a while, and waits for another start")
        control = self._children.get(CONTROL)
        if control:
            control.kill()
        if self._mailbox:
            self._mailbox.end()

    def _end(self) -> None:
        """Fs ends first, then its memory is wiped, then the mount is aborted wherever it still is."""
        self._succession.stop()
        for child in self._children.values():
            child.send(pulse.Stop())
        for module, child in self._children.items():
            if not child.wait(STOP_FS_SECONDS):
                log.warning("killed at the end", module=module)
            child.kill()
        self._held.arena.wipe()
        if self._mailbox:
            self._mailbox.end()
        self._held.connection.end()
        self._held.sockets.unlink()
        log.info("stopped")


def restart_delay(failures: int) -> float:
    """Seconds to wait before another start, after so many that did not become ready."""
    return min(0.05 * ((1 << min(failures, 10)) - 1), MAX_DELAY_SECONDS)


def main() -> int:
    """Run as ``sys.argv`` says (link/spawn.py)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a pidfd for each process of a task, and whoever asks
    process.set_dumpable(False)
    try:
        setup.check_root()
        supervisor = Supervisor(SupervisorStart.parse(sys.argv[1:]))
    except (SetupError, LinkError, OSError) as refusal:
        sys.stderr.write(f"secretfs: error: {one_line(str(refusal))}\n")
        return EXIT_REFUSED
    return supervisor.run()
