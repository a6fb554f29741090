"""The system calls of fs while it serves. Rule: none of them opens, connects to, executes or becomes anything.

Measured with strace over starts, handovers and kills; what a thread needs at its start and end is there too, as threads
come and go. What is mapped can never be code. fs may kill itself, and nobody else.
"""

import os
from typing import Final

from secretfs.fs import log
from secretfs.linux import seccomp
from secretfs.linux.seccomp import Rules, Where

_MISSING: Final = ("clone3",)  # its flags cannot be looked at: the C library then takes clone
_CLONE_THREAD: Final = 0x00010000  # linux/sched.h
_PROT_EXEC: Final = 4
_AF_UNIX: Final = 1
_PR_SET_NAME: Final = 15
_AT_EMPTY_PATH: Final = 0x1000
_CLOSE_ON_EXEC, _STAYS_ON_EXEC, _NON_BLOCKING = 0x5451, 0x5450, 0x5421  # FIOCLEX, FIONCLEX, FIONBIO
_OF_DESCRIPTORS: Final = (1, 2, 3, 4, 1030)  # F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC

_PLAIN: Final = (
    *("poll", "read", "writev", "futex", "epoll_wait", "epoll_pwait", "epoll_ctl", "ppoll"),  # of each request
    *("recvfrom", "sendto", "recvmsg", "sendmsg", "accept4", "getsockopt", "setsockopt", "getsockname"),
    "pipe2",  # libfuse makes one for each of its threads; refused, it would try again at each request
    *("brk", "munmap", "mremap", "madvise", "mlock"),
    *("write", "close", "fstat", "getrandom", "clock_gettime", "clock_nanosleep"),
    *("gettid", "getpid", "rseq", "set_robust_list", "sigaltstack", "sched_yield", "restart_syscall", "pause"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "exit", "exit_group"),
)


def confine() -> None:
    """Leave these to every thread there is and will be. To be called when INIT was handled: that takes others."""
    if not seccomp.restrict(rules(), _MISSING):
        log.warning("this machine has no filter of system calls")


def rules() -> Rules:
    """For this very process; whatever has none is refused."""
    not_code, ourselves = Where(2, (0,), _PROT_EXEC), Where(0, (os.getpid(),))
    return {
        **dict.fromkeys(_PLAIN, True),
        "clone": Where(0, (_CLONE_THREAD,), _CLONE_THREAD),
        "fcntl": Where(1, _OF_DESCRIPTORS),
        "ioctl": Where(1, (_CLOSE_ON_EXEC, _STAYS_ON_EXEC, _NON_BLOCKING)),
        "kill": ourselves,
        "mmap": not_code,
        "mprotect": not_code,
        "newfstatat": Where(3, (_AT_EMPTY_PATH,)),
        "prctl": Where(0, (_PR_SET_NAME,)),
        "socketpair": Where(0, (_AF_UNIX,)),
        "tgkill": ourselves,
    }
