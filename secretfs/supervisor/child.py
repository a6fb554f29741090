"""One process that the supervisor starts, or adopts, and watches: fs or control.

A death is: a leader that is gone or in state Z, a stopped process, or an event loop that has not turned for
``HUNG_SECONDS``. waitpid and pidfds alone would miss the first: an fs that is killed inside a notification leaves a
thread in state D until its successor answers, and is only reaped then.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from secretfs.errors import LinkError
from secretfs.link import codec, pulse
from secretfs.link.codec import Frame
from secretfs.linux import process, seqpacket

BEAT_SECONDS: Final = 0.2
LATE_SECONDS: Final = 0.5  # an answer this late makes the supervisor look closer
HUNG_SECONDS: Final = 5.0  # an answer this late is none: a busy machine is slow, but not this slow
START_SECONDS: Final = 40.0  # until its first answer: the program of an exec: root key may take 30
LAST_THREADS_SECONDS: Final = 0.05
GONE: Final = "gone"
UNKNOWN: Final = 256  # no exit code
_DEAD: Final = "ZX"
_STOPPED: Final = "Tt"
_UNTOLD: Final = "?"  # no state

# Copies of a posted value that stay in a process's heap fall from thousands to none (measured): memory is overwritten
# when it is freed, and no allocation goes round that. Set before exec, as malloc reads it at its start.
_HYGIENE: Final = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:glibc.malloc.mmap_max=0",
}
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ", "CREDENTIALS_DIRECTORY")


class _Process(Protocol):
    """As subprocess.Popen has them."""

    returncode: int | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Child:
    """A process and the socket to it."""

    def __init__(self, module: str, end: socket.socket, pid: int, pidfd: int, running: _Process) -> None:
        """For one that runs; ``end`` and ``pidfd`` are this object's from here on."""
        self.module = module
        self.end = end
        self.pidfd = pidfd
        self.pid = pid
        self._process = running
        self.ready = False
        self.loaded = False  # a standby that waits for its time
        self._beat = 0
        self._asked: float | None = None  # when, if it still owes an answer
        self._last_asked = 0.0

    @classmethod
    def started(cls, module: str, words: Sequence[str], fds: Sequence[int]) -> "Child":
        """Start ``python -m module FD WORDS…``; FD is the child's end of ``end``, ``fds`` are inherited."""
        end, theirs = seqpacket.pair()
        with theirs:
            command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), *words]
            running = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *fds],
                env=clean_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends the others in order
                cwd="/",
            )
        try:
            return cls(module, end, running.pid, os.pidfd_open(running.pid), running)
        except OSError:  # one that cannot be watched must not run beside its successor
            running.kill()
            end.close()
            raise

    @classmethod
    def adopted(cls, module: str, end: socket.socket, pidfd: int) -> "Child":
        """Take one that another supervisor had started. Raises ProcessLookupError."""
        return cls(module, end, process.pid_of(pidfd), pidfd, Stray(os.dup(pidfd)))

    def beat(self) -> None:
        """Ask whether the event loop turns, unless it was just asked, or still owes an answer.

        An answer wakes the supervisor's loop: were it asked again at once, the two would do nothing else.
        """
        now = time.monotonic()
        if self._asked is None and now - self._last_asked >= BEAT_SECONDS:
            self._beat += 1
            self._asked = self._last_asked = now
            self.send(pulse.Ping(self._beat))

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
        except OSError:  # no descriptor is free: it counts by its answers alone
            state = _UNTOLD
        if state in _DEAD:
            return GONE
        if state in _STOPPED and silent > LATE_SECONDS:
            return "stopped"
        patience = HUNG_SECONDS if self.ready or self.loaded else START_SECONDS
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
            seqpacket.send(self.end, codec.encode(frame), fds)

    def receive(self) -> tuple[Frame, list[int]] | None:
        """The next frame and its descriptors; None when there is none, or never will be."""
        try:
            packet, fds = seqpacket.receive(self.end, codec.MAX_FRAME_BYTES, max_fds=2)
        except OSError:
            return None
        if not packet:
            return None
        try:
            return codec.decode(packet), fds
        except LinkError:
            for fd in fds:
                os.close(fd)
            return None

    def end_now(self) -> bool:
        """SIGKILL; whether it is gone at once. One with a thread in state D is not, and does nothing any more."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        return self.wait(LAST_THREADS_SECONDS)

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


class Stray:
    """A process that this program did not start. Reaped if it is a child even so: exec keeps them."""

    def __init__(self, pidfd: int) -> None:
        self.returncode: int | None = None
        self._pidfd = pidfd

    def poll(self) -> int | None:
        """Its exit code, UNKNOWN if that is told to another process; None while it lives."""
        if self.returncode is None and process.ended(self._pidfd, 0):
            self.returncode = self._reaped()
            os.close(self._pidfd)
        return self.returncode

    def exit_code(self) -> int | None:
        """As poll; by the name that Child has for it."""
        return self.poll()

    def wait(self, timeout: float | None = None) -> int:
        """As poll, but wait for it. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            process.ended(self._pidfd, timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("", timeout or 0.0)
        return code

    def _reaped(self) -> int:
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return UNKNOWN
        if result is None:
            return UNKNOWN
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def strays(*, besides: int) -> list[Stray]:
    """Children that the program before exec has left, but for one, see proc_pid_task(5): they are to be reaped."""
    found: list[Stray] = []
    with contextlib.suppress(OSError), open("/proc/thread-self/children", encoding="ascii") as file:
        for pid in {int(word) for word in file.read().split()} - {besides}:
            with contextlib.suppress(ProcessLookupError):
                found.append(Stray(os.pidfd_open(pid)))
    return found


def clean_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What a process of secretfs gets of ours."""
    return {**{name: ours[name] for name in _PASSED_ON if name in ours}, **_HYGIENE}
