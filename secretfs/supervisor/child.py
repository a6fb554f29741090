"""One process that the supervisor starts and watches: fs or control.

A death is: a leader that is gone or in state Z, a stopped process, or an event loop that has not turned for
``HUNG_SECONDS``. waitpid and pidfds alone would miss the first: an fs that is killed inside a notification leaves a
thread in state D until its successor answers, and is only reaped then.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from secretfs.errors import LinkError
from secretfs.link import frames
from secretfs.link.frames import Frame
from secretfs.linux import process, seqpacket

BEAT_SECONDS: Final = 0.2
LATE_SECONDS: Final = 0.5  # an answer this late makes the supervisor look closer
HUNG_SECONDS: Final = 5.0  # an answer this late is none: a busy machine is slow, but not this slow
START_SECONDS: Final = 40.0  # until its first answer: the program of an exec: root key may take 30
LAST_THREADS_SECONDS: Final = 0.05
GONE: Final = "gone"
_DEAD: Final = "ZX"
_STOPPED: Final = "Tt"

# Copies of a posted value that stay in a process's heap fall from thousands to none (measured): memory is overwritten
# when it is freed, and no allocation goes round that. Set before exec, as malloc reads it at its start.
_HYGIENE: Final = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:glibc.malloc.mmap_max=0",
}
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ", "CREDENTIALS_DIRECTORY")


class Child:
    """A started process and the socket to it."""

    def __init__(self, module: str, words: Sequence[str], fds: Sequence[int]) -> None:
        """Start ``python -m module FD WORDS…``; FD is the child's end of ``end``, ``fds`` are inherited."""
        self.module = module
        self.end, theirs = seqpacket.pair()
        with theirs:
            command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), *words]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *fds],
                env=_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends the others in order
                cwd="/",
            )
        self.pid = self._process.pid
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:  # one that cannot be watched must not run beside its successor
            self._process.kill()
            self.end.close()
            raise
        self.started = time.monotonic()
        self.ready = False
        self._beat = 0
        self._asked: float | None = None  # when, if it still owes an answer
        self._last_asked = 0.0

    def beat(self) -> None:
        """Ask whether the event loop turns, unless it was just asked, or still owes an answer.

        An answer wakes the supervisor's loop: were it asked again at once, the two would do nothing else.
        """
        now = time.monotonic()
        if self._asked is None and now - self._last_asked >= BEAT_SECONDS:
            self._beat += 1
            self._asked = self._last_asked = now
            self.send(frames.Ping(self._beat))

    def answered(self, beat: int) -> None:
        """A Pong came."""
        if beat == self._beat:
            self._asked = None

    def dead(self) -> str | None:
        """Why it counts as dead; None while it lives."""
        if self.exit_code() is not None:
            return GONE
        silent = time.monotonic() - self._asked if self._asked is not None else 0.0
        if silent < LATE_SECONDS and silent < BEAT_SECONDS:
            return None
        try:
            state = process.process_state(self.pid)
        except ProcessLookupError:
            return GONE
        if state in _DEAD:
            return GONE
        if state in _STOPPED and silent > LATE_SECONDS:
            return "stopped"
        patience = HUNG_SECONDS if self.ready else START_SECONDS
        return "hung" if silent > patience else None

    def exit_code(self) -> int | None:
        """Its exit code, as subprocess counts them; None while it is not reaped."""
        return self._process.poll()

    def last_word(self) -> int | None:
        """The exit code of one that is gone. Its threads end after its leader: they get a moment, and no more, as one
        of them may wait for an answer of its successor.
        """
        return self._process.returncode if self.wait(LAST_THREADS_SECONDS) else None

    def send(self, frame: Frame, fds: Sequence[int] = ()) -> None:
        """Say it. One that does not listen is found by ``dead``."""
        with contextlib.suppress(OSError):
            seqpacket.send(self.end, frames.encode(frame), fds)

    def receive(self) -> tuple[Frame, list[int]] | None:
        """The next frame and its descriptors; None when there is none, or never will be."""
        try:
            packet, fds = seqpacket.receive(self.end, frames.MAX_FRAME_BYTES, max_fds=2)
        except OSError:
            return None
        if not packet:
            return None
        try:
            return frames.decode(packet), fds
        except LinkError:
            for fd in fds:
                os.close(fd)
            return None

    def kill(self) -> None:
        """SIGKILL, and no more words. It is reaped later, by ``exit_code``."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.close(self.pidfd)
        self.end.close()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within that time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    return {**{name: ours[name] for name in _PASSED_ON if name in ours}, **_HYGIENE}
