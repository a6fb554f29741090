"""What a process is and may: its state, its ids, its capabilities. All of it concerns the caller unless a pid
is given.

Ids and capabilities belong to threads in Linux: setresuid and its kin go through the C library, which changes
every thread; prctl(2) and capset(2) change the calling thread only, so use them before the first thread is
started.
"""

import ctypes
import errno
import os
import select
import time
from collections.abc import Sequence

from secretfs.linux.libc import LIBC, checked

PIDFD_THREAD = os.O_EXCL  # pidfd_open(2): a pidfd of any thread, Linux 6.9

# linux/prctl.h
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITIES = 64  # bits of a set
_DEAD = "ZX"
_LOOK_SECONDS = 0.01
_STATE_FIELD, _START_FIELD = 3, 22  # proc_pid_stat(5) counts from 1

LIBC.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def prctl(option: int, argument: int = 0, third: int = 0) -> int:
    """For the options that take numbers, see the man page of the same name."""
    return checked(LIBC.prctl(option, argument, third, 0, 0))


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS: no execve will ever give more than there is now. There is no way back."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def no_new_privs() -> bool:
    """Whether PR_SET_NO_NEW_PRIVS was set."""
    return bool(prctl(_PR_GET_NO_NEW_PRIVS))


def set_dumpable(dumpable: bool, /) -> None:
    """PR_SET_DUMPABLE: without it no core dump, and /proc/self belongs to root. A change of ids sets it back:
    call it afterwards.
    """
    prctl(_PR_SET_DUMPABLE, int(dumpable))


def dumpable() -> bool:
    """Whether PR_GET_DUMPABLE says that a core may be written, and that others of the same uid may look
    inside.
    """
    return prctl(_PR_GET_DUMPABLE) == 1


def drop_capabilities() -> None:
    """Leave every capability in every set: ambient, bounding, then effective, permitted and inheritable. See
    capabilities(7). PermissionError when the bounding set is not empty and CAP_SETPCAP is not there to empty
    it: so drop_bounding_set() before drop_to(), and this after it.
    """
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    drop_bounding_set()
    header = _CapHeader(_LINUX_CAPABILITY_VERSION_3, 0)
    nothing = (_CapData * 2)()
    checked(LIBC.capset(ctypes.pointer(header), ctypes.byref(nothing)))


def drop_bounding_set() -> None:
    """Empty the capability bounding set: no file of any owner can give a capability back. Needs CAP_SETPCAP
    unless it is empty.
    """
    for capability in range(_MAX_CAPABILITIES):
        try:
            there = prctl(_PR_CAPBSET_READ, capability)
        except OSError:  # EINVAL: the kernel has no more; /proc, which would say so, may not be there in a chroot
            return
        if there:
            prctl(_PR_CAPBSET_DROP, capability)


def drop_to(uid: int, gid: int, groups: Sequence[int] = ()) -> None:
    """Become this user for good: supplementary groups, then gid, then uid, each real, effective and saved."""
    os.setgroups(list(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def process_state(pid: int) -> str:
    """One letter, see proc_pid_stat(5): R, S, D, Z, T … of the thread-group leader. Z is a death that no
    pidfd may have reported yet. ProcessLookupError when there is no such process.
    """
    return _stat_field(pid, _STATE_FIELD)


def start_ticks(pid: int) -> int:
    """When the process began, in clock ticks since boot: with the boot id it tells a process from a later one
    of the same pid. Everybody may read it. ProcessLookupError when there is no such process.
    """
    return int(_stat_field(pid, _START_FIELD))


def boot_id() -> str:
    """A UUID that lasts from one boot to the next, see random(4)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def pid_of(pidfd: int) -> int:
    """The pid behind a pidfd as our pid namespace numbers it, from /proc/self/fdinfo, see pidfd_open(2).
    ProcessLookupError when the process is gone (Pid: -1) or not in our namespace (Pid: 0); OSError EBADF when
    it is no pidfd.
    """
    for line in _proc_bytes(f"/proc/self/fdinfo/{pidfd}").splitlines():
        key, _, value = line.partition(b":")
        if key == b"Pid":
            return _living(int(value), pidfd)
    raise OSError(errno.EBADF, "not a pidfd", f"fd {pidfd}")


def ended(pidfd: int, seconds: float | None = 0.0) -> bool:
    """Whether the process ends within that time (None: however long it takes), see pidfd_open(2)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie: threads may outlive the leader, but do nothing any more
    once they were killed.
    """
    try:
        return process_state(pid) not in _DEAD
    except ProcessLookupError:
        return False


def died(pidfd: int, seconds: float) -> bool:
    """Whether the process ends within that time, or at least its leader does: one of its threads may wait for an
    answer that never comes.
    """
    until = time.monotonic() + seconds
    while not ended(pidfd, _LOOK_SECONDS):
        try:
            if not alive(pid_of(pidfd)):
                return True
        except ProcessLookupError:
            return True
        if time.monotonic() > until:
            return False
    return True


def _living(pid: int, pidfd: int) -> int:
    if pid <= 0:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), f"pidfd {pidfd}")
    return pid


def _stat_field(pid: int, number: int) -> str:
    """A field of /proc/PID/stat from the third on. The second is the name in brackets, which may hold spaces
    and brackets itself: what follows its *last* bracket is plain.
    """
    try:
        after_name = _proc_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), f"process {pid}") from None
    return after_name[number - 3].decode("ascii")


def _proc_bytes(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()
