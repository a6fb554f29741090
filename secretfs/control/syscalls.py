"""The system calls that control is refused. Rule: it becomes nothing else, starts nothing, and looks into nobody.

A list of what is refused, not of what is allowed: SQLite, and the modules that look up users, take calls that differ
from one host to the next. Files are landlock's business (main.py).
"""

import socket
from mmap import PROT_EXEC
from typing import Final

from secretfs.linux.seccomp import Rules, Where

MISSING: Final = ("clone3",)  # its flags cannot be looked at: the C library then takes clone
_CLONE_THREAD: Final = 0x00010000  # linux/sched.h
_REFUSED: Final = (
    *("execve", "execveat", "fork", "vfork"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "perf_event_open", "userfaultfd"),
    *("mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "mount_setattr", "fsopen"),
    *("unshare", "setns", "personality", "open_by_handle_at", "bpf", "io_uring_setup"),
    *("keyctl", "add_key", "request_key"),
)
RULES: Final[Rules] = {
    **dict.fromkeys(_REFUSED, False),
    "clone": Where(0, (_CLONE_THREAD,), _CLONE_THREAD),
    "mmap": Where(2, (0,), PROT_EXEC),
    "mprotect": Where(2, (0,), PROT_EXEC),
    "socket": Where(0, (socket.AF_UNIX,)),
}
