"""The mount tables of processes, see proc_pid_mountinfo(5). Reading one asks no file system anything: a mount whose
server is dead or stopped holds nobody up here.
"""

import os
import re
from dataclasses import dataclass
from typing import Final

_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_SEPARATOR: Final = b"-"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table. ``device`` tells one file system from another: ``MAJOR:MINOR``."""

    id: int
    parent: int
    device: str
    root: str  # of the mount within its file system
    path: str  # where it is mounted, seen from the process's root directory
    fstype: str
    source: str
    shared: bool = False  # what is mounted on it is mounted in other namespaces as well, see mount_namespaces(7)


def mounts(process: int | str = "self", *, proc: int | None = None) -> list[Mount]:
    """The mounts that a process can reach, in the order of the table; ``proc``: a descriptor of /proc.

    OSError when the process is gone, or has left its mount namespace because it is ending (EINVAL).
    """
    place = f"{process}/mountinfo" if proc is not None else f"/proc/{process}/mountinfo"
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    with open(fd, "rb", buffering=0) as file:
        return parsed(file.readall())


def parsed(table: bytes) -> list[Mount]:
    """The mounts of such a table."""
    return [_mount(line.split(b" ")) for line in table.split(b"\n") if line]  # a path may hold \r


def mount_at(path: str) -> Mount | None:
    """The topmost mount on a directory, None when nothing is mounted there. OSError when there is no such path."""
    mount, where = _under(path)
    return mount if mount and mount.path == where else None


def mount_under(path: str) -> Mount | None:
    """The mount that a path lies on; None when it begins outside of a chroot. OSError when there is no such path."""
    return _under(path)[0]


def _under(path: str) -> tuple[Mount | None, str]:
    """With the path's plain name. Only the path is walked (O_PATH): the directory itself is not looked at."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found, where = mount_of(fd), os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return next((mount for mount in mounts() if mount.id == found), None), where


def mount_of(fd: int, *, proc: int | None = None) -> int:
    """The id of the mount that a descriptor lies on."""
    place = f"self/fdinfo/{fd}" if proc is not None else f"/proc/self/fdinfo/{fd}"
    info = os.open(place, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    with open(info, "rb", buffering=0) as file:
        lines = dict(line.split(b":", 1) for line in file.readall().splitlines())
    return int(lines[b"mnt_id"])


def _mount(fields: list[bytes]) -> Mount:
    fstype = fields.index(_SEPARATOR, 6) + 1  # after optional fields, of any number
    return Mount(
        int(fields[0]),
        int(fields[1]),
        fields[2].decode(),
        _plain(fields[3]),
        _plain(fields[4]),
        _plain(fields[fstype]),
        _plain(fields[fstype + 1]),
        any(field.startswith(b"shared:") for field in fields[6 : fstype - 1]),
    )


def _plain(field: bytes) -> str:
    """Blanks and backslashes are escaped in octal."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field))
