"""SIGHUP: the supervisor becomes the version that is installed now. First that version has to show that it starts.

exec keeps the pid, and the children; it closes every descriptor, so fs and control see what they see when a supervisor
dies: control ends, fs gives everything to the next one, which is the same process.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from typing import Final

from secretfs.link.spawn import SupervisorStart
from secretfs.linux import systemd
from secretfs.supervisor import log
from secretfs.supervisor.child import clean_environment

REHEARSAL_SECONDS: Final = 20.0
_HELD_BACK: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)  # from exec to the handlers of the next program
_REHEARSAL: Final = (
    "import sys, secretfs.supervisor.main, secretfs.fs.main, secretfs.control.main; "
    "from secretfs.link.spawn import SupervisorStart; SupervisorStart.parse(sys.argv[1:])"
)


class Upgrade:
    """From the wish to the exec. ``want`` is for a signal handler; ``tend`` for the loop, as long as all is well."""

    def __init__(self, start: SupervisorStart) -> None:
        """``start``: as this version was started; the next one is to replace fs as well."""
        self._words = dataclasses.replace(start, takeover=1).words()
        self._wanted = False
        self._rehearsal: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    def want(self) -> None:
        """SIGHUP came."""
        self._wanted = True

    def tend(self) -> None:
        """Go on with it. Does not return when the time has come."""
        try:
            if self._rehearsal is not None:
                self._see(self._rehearsal)
            elif self._wanted:
                self._wanted = False
                self._rehearse()
        except OSError as refusal:
            log.error("upgrade refused: this version goes on", error=str(refusal))

    def _rehearse(self) -> None:
        """The installed version imports all it has, and reads the words that it will be started with."""
        self._began = time.monotonic()
        self._rehearsal = subprocess.Popen(
            [sys.executable, "-P", "-c", _REHEARSAL, *self._words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=clean_environment(os.environ),
            cwd="/",
        )

    def _see(self, rehearsal: "subprocess.Popen[bytes]") -> None:
        code = rehearsal.poll()
        if code is None and time.monotonic() - self._began > REHEARSAL_SECONDS:
            rehearsal.kill()
            code = rehearsal.wait()
        if code is None:
            return
        self._rehearsal = None
        if code:
            log.error("upgrade refused: this version goes on", error="what is installed does not start", code=code)
            return
        log.info("upgrade")
        systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._become()

    def _become(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            command = [sys.executable, "-P", "-m", "secretfs.supervisor", *self._words]
            os.execv(sys.executable, command)  # noqa: S606 - there is no shell to be without
        finally:
            release_signals()
            systemd.notify("READY=1")


def release_signals() -> None:
    """The handlers are there: what was held back may come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
