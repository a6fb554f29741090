"""Namespaces, see namespaces(7): leaving one, entering one, and the number that tells one from another."""

import os

from secretfs.linux.libc import LIBC, checked

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def unshare(flags: int) -> None:
    """The calling thread gets namespaces of its own. CLONE_NEWUSER needs a process of one thread."""
    checked(LIBC.unshare(flags))


def become_root_of_own(inner_uid: int = 0, inner_gid: int = 0) -> None:
    """A user and a mount namespace of our own, see user_namespaces(7), in which our uid and gid have these numbers and
    no others exist. The process has every capability there, until it executes a program as another than 0.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{inner_uid} {uid} 1")
    _write("/proc/self/gid_map", f"{inner_gid} {gid} 1")


def _write(path: str, text: str) -> None:
    """In one write(2), as these files want it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def setns(fd: int, kinds: int = 0) -> None:
    """Enter the namespace of a /proc/PID/ns descriptor (kinds may be 0), or those of kinds of a pidfd's
    process. CLONE_NEWNS needs a process of one thread: do it in a forked child.
    """
    checked(LIBC.setns(fd, kinds), f"fd {fd}")


def ns_inode(pid: int | str, kind: str) -> int:
    """The inode number of /proc/PID/ns/KIND (mnt, pid, user, …), equal for two processes exactly when they
    share it. pid may be "self". Needs PTRACE_MODE_READ on the process: FileNotFoundError when it is gone,
    PermissionError when not allowed.
    """
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def mapped(number: int, kind: str) -> bool:
    """Whether a uid or gid (kind) means anything in our user namespace, see user_namespaces(7): one that does not is
    shown as the overflow id, 65534, which may mean somebody as well.
    """
    with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(inside <= number < inside + count for inside, _, count in ranges)
