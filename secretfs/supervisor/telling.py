"""Telling a task of a change: a signal to its leader, or a command that runs beside it. Rule: control names the
process, and it is checked here that it is one of the task's; nobody else on this host can be meant.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from typing import Final

from secretfs.linux import process
from secretfs.supervisor.child import clean_environment
from secretfs.supervisor.members import belongs

COMMAND_SECONDS: Final = 60
_GRACE_SECONDS: Final = 10.0  # for Python to start, and for the end after the time is over
SIGNALS: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTERM,
        signal.SIGCONT,
        signal.SIGWINCH,
    }
)


def signalled(pidfd: int, number: int, task: str, mnt: int, devices: Collection[str]) -> None:
    """Send it. Raises OSError: EINVAL for a signal that is not for this, EPERM for a process that is not the task's."""
    if number not in SIGNALS:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    _check(pidfd, task, mnt, devices)
    signal.pidfd_send_signal(pidfd, number)


def ran(pidfd: int, words: str, task: str, mnt: int, devices: Collection[str]) -> int:
    """Run the command of brokering.AskCommand as supervisor/command.py says; its exit code. Raises OSError."""
    _check(pidfd, task, mnt, devices)
    helper = [sys.executable, "-P", "-m", "secretfs.supervisor.command", str(pidfd), str(COMMAND_SECONDS), task]
    try:
        done = subprocess.run(
            helper,
            check=False,
            input=words.encode("utf-8", "surrogateescape"),
            stdout=subprocess.DEVNULL,
            pass_fds=[pidfd],
            env=clean_environment(os.environ),
            cwd="/",
            start_new_session=True,
            timeout=COMMAND_SECONDS + _GRACE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _check(pidfd: int, task: str, mnt: int, devices: Collection[str]) -> None:
    pid = process.pid_of(pidfd)
    if not belongs(pid, task, mnt, devices):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    process.pid_of(pidfd)  # the same all the while
