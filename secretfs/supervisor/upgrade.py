"""SIGHUP: the supervisor becomes the version that is installed now. First that version has to show that it starts.

exec keeps the pid, and the children; it closes every descriptor, so fs and control see what they see when a supervisor
dies: control ends, fs gives everything to the next one, which is the same process.
"""

import dataclasses
import os
import subprocess
import sys
import time
from typing import Final

from secretfs.errors import SetupError
from secretfs.link.spawn import SupervisorStart
from secretfs.linux import systemd
from secretfs.supervisor import log, signals
from secretfs.supervisor.child import clean_environment

REHEARSAL_SECONDS: Final = 20.0
_REHEARSAL: Final = (
    "import sys, secretfs.supervisor.main, secretfs.fs.main, secretfs.control.main; "
    "from secretfs.link.spawn import SupervisorStart; SupervisorStart.parse(sys.argv[1:])"
)


def check(start: SupervisorStart) -> None:
    """See that the installed version starts, before anything is ended for it. Raises SetupError."""
    with _rehearsal(start.words()) as trial:
        try:
            code = trial.wait(REHEARSAL_SECONDS)
        except subprocess.TimeoutExpired:
            trial.kill()
            code = trial.wait()
    if code:
        raise SetupError(f"what is installed does not start (code {code}): the daemon that runs goes on")


def _rehearsal(words: list[str]) -> "subprocess.Popen[bytes]":
    """The installed version imports all it has, and reads the words that it will be started with."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _REHEARSAL, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=clean_environment(os.environ),
        cwd="/",
    )


class Upgrade:
    """From the wish to the exec. ``want`` is for a signal handler; ``tend`` for the loop, as long as all is well."""

    def __init__(self, start: SupervisorStart) -> None:
        """``start``: as this version was started; the next one is to replace fs as well."""
        self._words = dataclasses.replace(start, takeover=1).words()
        self._wanted = False
        self._trial: subprocess.Popen[bytes] | None = None
        self._passed = False
        self._ended = False
        self._began = 0.0

    def want(self) -> None:
        """SIGHUP came."""
        self._wanted = True

    def end(self) -> None:
        """The daemon stops: nothing becomes anything any more."""
        self._ended = True

    def tend(self, *, idle: bool) -> None:
        """Go on with it. Does not return when the time has come.

        ``idle``: no thread may wait for an answer of fs. exec ends all threads first; if fs died just then, nobody were
        left to start another.
        """
        try:
            if self._passed:
                if idle:
                    self._passed = False
                    self._become()
            elif self._trial is not None:
                self._see(self._trial)
            elif self._wanted:
                self._wanted = False
                self._began = time.monotonic()
                self._trial = _rehearsal(self._words)
        except OSError as refusal:
            log.error("upgrade refused: this version goes on", error=str(refusal))

    def _see(self, trial: "subprocess.Popen[bytes]") -> None:
        code = trial.poll()
        if code is None and time.monotonic() - self._began > REHEARSAL_SECONDS:
            trial.kill()
            code = trial.wait()
        if code is None:
            return
        self._trial = None
        self._passed = code == 0
        if code:
            log.error("upgrade refused: this version goes on", error="what is installed does not start", code=code)

    def _become(self) -> None:
        log.info("upgrade")
        signals.hold_back()
        if self._ended:  # by a signal that came before they were held back: exec would forget it
            signals.release()
            return
        systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            command = [sys.executable, "-P", "-m", "secretfs.supervisor", *self._words]
            os.execv(sys.executable, command)  # noqa: S606 - there is no shell to be without
        finally:
            signals.release()
            systemd.notify("READY=1")
