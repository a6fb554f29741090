"""From one fs to the next, on one connection as long as that can be. Rule: until one is dead nobody else reads the
device.
"""

from collections.abc import Callable

from secretfs.link import frames
from secretfs.supervisor import log
from secretfs.supervisor.child import Child
from secretfs.supervisor.connection import Connection
from secretfs.supervisor.holdings import Holdings
from secretfs.supervisor.watch import Watch


class Succession:
    """The connection, and the standby that is to take the place of fs."""

    def __init__(self, held: Holdings, watch: Watch, start: Callable[[], Child]) -> None:
        """``start`` starts a standby, and has it heard; it may raise OSError."""
        self._held = held
        self._watch = watch
        self._start = start
        self._standby: Child | None = None
        self._initialised = held.fs is not None  # the kernel has had an answer to INIT on this connection

    @property
    def under_way(self) -> bool:
        """Whether fs is about to be replaced."""
        return self._standby is not None

    def serves(self) -> None:
        """An fs is ready: INIT has its answer."""
        self._initialised = True

    def begin(self) -> None:
        """An fs of this version gets everything ready beside the one that serves."""
        try:
            self._standby = self._start()
        except OSError as refusal:
            log.error("fs is not replaced", error=str(refusal))

    def tend(self) -> None:
        """Look after the standby. One that dies changes nothing."""
        standby = self._standby
        if standby is None:
            return
        cause = standby.dead()
        if cause:
            self.end(cause)
            log.error("fs is not replaced: the new one has died; the old one goes on")
        else:
            standby.beat()

    def replaces(self, child: Child, fs: Child) -> bool:
        """Whether ``child``, which is loaded, has taken the place of ``fs``, which is dead then and to be buried.

        It dies as it may at any moment. Until it is dead nobody else reads the device.
        """
        if child is not self._standby:
            return False
        child.send(frames.Go(self._held.arena.usable), [fs.pidfd])
        fs.end_now()
        return True

    def successor(self) -> Child | None:
        """After the end of an fs: let the next one have what that one has not answered; the standby, if there is one.

        RESEND at once, before the dead one is reaped: its own thread may wait for an answer of its successor.
        Raises OSError and SetupError.
        """
        if not self._initialised or self._held.connection.ended:
            self._mount_anew()
        else:
            self._held.connection.resend()
        standby, self._standby = self._standby, None
        if standby:
            standby.send(frames.Go(self._held.arena.usable))
        return standby

    def end(self, cause: str) -> None:
        """No standby any more."""
        if self._standby:
            self._watch.forget(self._standby, cause)
            self._standby = None

    def _mount_anew(self) -> None:
        """INIT is sent once: if the first fs died before its answer, or the mount was ended outside, start over."""
        self.end("useless")  # it has another device
        self._held.connection.end()
        self._initialised = False
        self._held.connection = Connection.made(self._held.connection.mountpoint)
        log.warning("mounted anew", mountpoint=self._held.connection.mountpoint)
