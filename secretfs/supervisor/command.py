"""``python -m secretfs.supervisor.command PIDFD SECONDS TASK``: run a command beside a process, as that one would.

On standard input ``service NUL targets NUL command``. In the process's mount, pid, network, ipc, uts and cgroup
namespaces, its root and working directory, with its uid, gids and groups as the host counts them; without any
capability, without a way to get one, without a terminal, and with an environment of its own. What it prints goes
nowhere: a secret may be in it.

All of that is so before the first process exists that the task can see: root of a container, which may trace what is in
its pid namespace, finds nothing that it could not have started itself. Only root of the host's user namespace has a
uid 0 here, so a leader that is root of the host runs it as root of the host, without capabilities.
"""

import contextlib
import os
import resource
import signal
import sys
from typing import Final

from secretfs.linux import process
from secretfs.linux.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    setns,
)
from secretfs.supervisor import signals

_NAMESPACES: Final = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_SHELL: Final = "/bin/sh"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_BYTES: Final = 16384
_FILES: Final = 1024  # the usual limit; the supervisor has raised its own
REFUSED: Final = 125  # the command was not started
TIMED_OUT: Final = 124  # as timeout(1)


def main() -> int:
    """The command's exit code, or one of the above."""
    pidfd, seconds, task = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    process.set_dumpable(False)
    service, changed, command = sys.stdin.buffer.read(_MAX_BYTES).split(b"\0", 2)
    environment = {
        b"PATH": _PATH.encode(),
        b"SECRETFS_TASK": task.encode(),
        b"SECRETFS_SERVICE": service,
        b"SECRETFS_CHANGED": changed,
    }
    try:
        _become(pidfd)
    except (OSError, ValueError) as refusal:
        sys.stderr.write(f"secretfs: error: a command on change was not run: {refusal}\n")
        return REFUSED
    return _ran(command, environment, seconds)


def _become(pidfd: int) -> None:
    """Be as the process is. Raises OSError."""
    pid = process.pid_of(pidfd)
    uid, gid, groups = _ids(pid)
    root, cwd = (os.open(f"/proc/{pid}/{name}", _DIRECTORY) for name in ("root", "cwd"))
    nothing = os.open(os.devnull, os.O_RDWR)
    process.pid_of(pidfd)  # all of it was that one's
    setns(pidfd, _NAMESPACES)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(cwd)
    for fd in range(3):
        os.dup2(nothing, fd)
    os.closerange(3, max(root, cwd, nothing, pidfd) + 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, most), most))
    os.umask(0o022)
    process.set_no_new_privs()
    process.drop_bounding_set()
    process.drop_to(uid, gid, groups)
    process.drop_capabilities()
    process.set_dumpable(False)


def _ids(pid: int) -> tuple[int, int, list[int]]:
    """Effective uid, gid, and groups, from proc_pid_status(5)."""
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
        fields = dict(line.split(b":", 1) for line in file.readall().splitlines() if b":" in line)
    return (
        int(fields[b"Uid"].split()[1]),
        int(fields[b"Gid"].split()[1]),
        [int(word) for word in fields[b"Groups"].split()],
    )


def _ran(command: bytes, environment: dict[bytes, bytes], seconds: int) -> int:
    child = os.fork()  # in the pid namespace that was entered
    if child == 0:
        _exec(command, environment)
    signal.signal(signal.SIGALRM, lambda *_: _kill(child))
    signal.alarm(seconds)
    _, status = os.waitpid(child, 0)
    late = signal.alarm(0) == 0
    _kill(child)  # what it has left in its process group
    code = os.waitstatus_to_exitcode(status)
    return TIMED_OUT if late else code if code >= 0 else 128 - code


def _exec(command: bytes, environment: dict[bytes, bytes]) -> None:
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signals.release()  # the broker's threads, of which this is a child, hold them back
        os.execve(_SHELL, [b"sh", b"-c", command], environment)  # noqa: S606 - the shell of the task, for its words
    finally:
        os._exit(REFUSED)


def _kill(child: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
