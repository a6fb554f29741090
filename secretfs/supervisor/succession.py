"""From one fs to the next, on one connection as long as that can be. Rule: until one is dead nobody else reads the
device.
"""

import errno
import time
from collections.abc import Callable
from typing import Final

from secretfs.link import serving
from secretfs.supervisor import log
from secretfs.supervisor.child import Child
from secretfs.supervisor.deaths import Deaths
from secretfs.supervisor.holdings import Holdings
from secretfs.supervisor.watch import Watch

_STOP_SECONDS: Final = 0.7
_FIRST_DELAY_SECONDS: Final = 0.2
_MAX_DELAY_SECONDS: Final = 30.0
_MAX_FAILURES: Final = 10
_REPAIR_SECONDS: Final = 2.0  # after another mount the processors are for those who have none
_WELL_SECONDS: Final = 1.0  # ready for so long


class Succession:
    """The connection, and the standby: an fs that is loaded and waits, so that whoever reads hardly notices a death."""

    def __init__(self, held: Holdings, watch: Watch, start: Callable[[], Child]) -> None:
        """``start`` starts a standby, and has it heard; it may raise OSError."""
        self._held = held
        self._watch = watch
        self._start = start
        self._standby: Child | None = None
        self._replaces = False  # as soon as it is loaded
        self._failures = 0
        self._start_at = 0.0
        self._initialised = held.fs is not None  # the kernel has had an answer to INIT on this connection
        self._ready_at: float | None = None
        self._deaths = Deaths(time.monotonic(), held.arena.hand())
        self._in_vain = False  # that it was started over

    @property
    def under_way(self) -> bool:
        """Whether an fs that serves is about to be replaced."""
        return self._replaces

    def serves(self) -> None:
        """An fs is ready: INIT has its answer."""
        self._initialised = True
        self._ready_at = time.monotonic()

    def replace(self) -> None:
        """Have an fs of this version take the place of the one that serves, as soon as there is one."""
        self._replaces = True

    def tend(self, *, calm: bool) -> None:
        """Look after the standby; start one where there is none, and all is ``calm``."""
        if self._standby is None:
            if calm and time.monotonic() >= self._start_at:
                self._begin()
        elif cause := self._standby.dead():
            self._forget(cause)
            self._begin_later()
        else:
            self._standby.beat()

    def loaded(self, child: Child) -> bool:
        """A standby has got everything ready; whether it is to take the place of the one that serves now."""
        child.loaded = True
        self._failures = 0
        log.info("standby loaded", pid=child.pid)
        return self._replaces and child is self._standby

    def end_before(self, fs: Child) -> None:
        """End the one that serves: the standby comes next. It dies as it may at any moment."""
        if self._standby:
            self._standby.send(serving.Go(self._held.arena.usable), [fs.pidfd])
        fs.end_now()

    def unserved(self) -> float:
        """Seconds in which no fs has served anybody; 0 while one does, or could."""
        now = time.monotonic()
        well = self._ready_at is not None and now - self._ready_at > _WELL_SECONDS
        self._in_vain = self._in_vain and not well
        return self._deaths.unserved(now, self._held.arena.hand(), well=well)

    def successor(self, *, killed: bool) -> Child | None:
        """After the end of an fs: let the next one have what that one has not answered; the standby, if there is one.

        RESEND at once, before the dead one is reaped: its own thread may wait for an answer of its successor. A request
        of which each fs dies is not sent again, nor is anything else then. ``killed``: it may be nobody's fault.
        Raises OSError and SetupError.
        """
        hand = self._held.arena.hand()
        was_ready, self._ready_at = self._ready_at is not None, None
        if self._deaths.another(hand, crashed=was_ready and not killed):
            log.error("each fs dies of this", operation=hand.operation, inode=hand.what, pid=hand.caller)
            self._mount_anew()
        elif not self._initialised or self._held.connection.ended or not self._sent_again():
            self._mount_anew()
        if self._standby and (cause := self._standby.dead()):
            self._forget(cause)
        standby, self._standby = self._standby, None
        self._replaces = False  # whichever comes next is of this version
        if standby:
            standby.send(serving.Go(self._held.arena.usable))
        return standby

    def start_over(self) -> None:
        """Nobody is served: end the connection, so that who waits gets an error, and make another. Raises OSError and
        SetupError.
        """
        hand = self._held.arena.hand()
        log.error("no fs serves: starting over", operation=hand.operation, inode=hand.what, pid=hand.caller)
        self._ready_at = None
        if self._in_vain:
            self._held.arena.empty()  # it may be what each fs finds there
        self._in_vain = True
        self._mount_anew()

    def stop(self) -> None:
        """The daemon ends: a standby has nothing that it could end in order, and is not left to anybody else."""
        if self._standby:
            self._standby.kill()
            self._standby.wait(_STOP_SECONDS)

    def _forget(self, cause: str) -> None:
        """No standby any more."""
        if self._standby:
            self._watch.forget(self._standby, cause)
            self._standby = None

    def _begin(self) -> None:
        try:
            self._standby = self._start()
        except OSError as refusal:
            log.error("no standby", error=str(refusal))
            self._begin_later()

    def _begin_later(self) -> None:
        """What is installed may not start any more: the one that serves goes on."""
        self._start_at = time.monotonic() + min(_FIRST_DELAY_SECONDS * (1 << self._failures), _MAX_DELAY_SECONDS)
        self._failures = min(self._failures + 1, _MAX_FAILURES)
        if self._replaces:
            self._replaces = False
            log.error("fs is not replaced: the new one has died; the old one goes on")

    def _sent_again(self) -> bool:
        try:
            self._held.connection.resend()
        except OSError as refusal:
            if refusal.errno != errno.EINVAL:
                raise
            log.warning("this kernel sends no request again: its mount ends with each fs")
            return False
        return True

    def _mount_anew(self) -> None:
        """Everybody who waits on the old mount gets an error, in every namespace; control has it repaired.

        INIT is sent once: so this is for a first fs that died before its answer as well.
        """
        self._forget("useless")  # it has another device
        self._held.connection.end()
        if self._initialised:  # else this one was in vain as well: time goes on
            self._deaths.begin_anew(time.monotonic())
        self._initialised = False
        self._start_at = time.monotonic() + _REPAIR_SECONDS
        self._held.mount_anew(self._held.connection.mountpoint)
        log.warning("mounted anew", mountpoint=self._held.connection.mountpoint)
