"""Namespaces, see namespaces(7): leaving one, entering one, and the number that tells one from another."""

import fcntl
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
_NS_GET_PARENT = 0xB702  # linux/nsfs.h


def unshare(flags: int) -> None:
    """The calling thread gets namespaces of its own. CLONE_NEWUSER needs a process of one thread."""
    checked(LIBC.unshare(flags))


def own_user_namespace(uid: int, gid: int) -> None:
    """A user namespace, see user_namespaces(7), in which our uid and gid have these numbers and no others exist, with a
    mount namespace. The process has every capability there, until it executes a program as another than 0.

    Who maps but himself needs no privilege, and must give up setgroups(2), with which he could leave a group that is
    denied something.
    """
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1")


def one_id_only() -> bool:
    """Whether this user namespace knows a single uid: ours, which is somebody else's number outside."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return [int(line.split()[2]) for line in file] == [1]


def parent_of(user_namespace: int) -> int:
    """NS_GET_PARENT of ioctl_ns(2): a descriptor of the user namespace in which this one was made; the caller closes
    it. OSError EPERM when that is not ours to see.
    """
    return fcntl.ioctl(user_namespace, _NS_GET_PARENT)


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
