"""Looks at one daemon: who runs, what lies in its directories, whether its memory is locked."""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secretfs.doctor.facts import Arena, Directory, Key, Mountpoint, Process, Running, Socket, Store
from secretfs.doctor.machine import text
from secretfs.errors import LinkError
from secretfs.link.layout import ArenaLayout
from secretfs.link.spawn import SupervisorStart
from secretfs.linux import mountinfo, process
from secretfs.supervisor.setup import LOCK

SOCKETS: Final = ("api.sock", "attach.sock", "handover.sock")
_DATABASE: Final = "secretfs.db"
_PACKAGE: Final = Path(__file__).parent.parent
_ARENA: Final = "secretfs-arena"
_VMA: Final = re.compile(  # the head of a mapping of the arena in proc_pid_smaps(5), and what is below it
    r"(?m)^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ +/memfd:secretfs-arena .*\n((?:[A-Z]\w+:.*\n)*)"
)
_SWAP: Final = re.compile(r"(?m)^Swap:\s+(\d+) kB$")
_FLAGS: Final = re.compile(r"(?m)^VmFlags:.*$")
_MEMLOCK: Final = re.compile(r"^Max locked memory\s+(\S+)", re.MULTILINE)
_MODULE: Final = re.compile(rb"\0-m\0secretfs\.(supervisor|fs|control)\0")
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Places:
    """Where a daemon is looked for."""

    state_dir: str
    runtime_dir: str
    mountpoint: str
    root_key: str


def running(runtime_dir: str) -> Running | None:
    """The daemon that holds the directory's lock, by the kernel's word."""
    pid = _holder(os.path.join(runtime_dir, LOCK))
    if pid is None:
        return None
    start = _start_of(pid)
    return Running(pid, start, _older(pid), None if start is None else _arena(pid, start.arena_bytes))


def processes() -> tuple[Process, ...]:
    """All of secretfs on this host, whichever daemon they belong to; an ordinary user's own."""
    found = {int(name): module for name in os.listdir("/proc") if name.isdecimal() and (module := _module_of(name))}
    if os.geteuid():
        found = {pid: module for pid, module in found.items() if _has_our_uid(pid)}
    supervisors = {pid for pid, module in found.items() if module == "supervisor"}
    return tuple(Process(pid, module, _kept(pid, module, supervisors)) for pid, module in sorted(found.items()))


def sockets(runtime_dir: str, listening: frozenset[str] | None) -> tuple[Socket, ...] | None:
    """Those of the runtime directory; None when the kernel's table cannot be read."""
    if listening is None:
        return None
    return tuple(_socket(os.path.join(runtime_dir, name), listening) for name in SOCKETS)


def directory(path: str) -> Directory | None:
    """None: it cannot be looked at."""
    try:
        found, disk = os.stat(path), os.statvfs(path)
    except FileNotFoundError:
        return Directory(path, None)
    except OSError:
        return None
    return Directory(path, stat.S_IMODE(found.st_mode), found.st_uid, disk.f_bavail * disk.f_frsize)


def mountpoint(path: str) -> Mountpoint:
    """The mount table is asked first: what is mounted there may not answer."""
    try:
        if mountinfo.mount_at(path) is not None:
            return Mountpoint(path, True, 0)
        return Mountpoint(path, False, len(os.listdir(path)))
    except FileNotFoundError:
        return Mountpoint(path, False, 0)
    except NotADirectoryError:
        return Mountpoint(path, False, 1)
    except OSError:
        return Mountpoint(path, False, None)


def store(state_dir: str) -> Store | None:
    """None: it cannot be looked at."""
    path = os.path.join(state_dir, _DATABASE)
    try:
        found = os.stat(path)
        reserve = _size_of(f"{path}-reserve")
    except FileNotFoundError:
        return Store(None, None)
    except OSError:
        return None
    return Store(found.st_size, reserve, found.st_mtime)


def key(source: str) -> Key | None:
    """Its file's, if it is one; None: it cannot be looked at."""
    if not source.startswith("file:"):
        return Key(source, None)
    path = source.removeprefix("file:")
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return Key(source, path)
    except OSError:
        return None
    return Key(source, path, stat.S_IMODE(found.st_mode), found.st_uid, found.st_size)


def arena_of(maps: str, limits: str, max_bytes: int, extents: Iterable[range]) -> Arena:
    """Of smaps and limits of the supervisor in /proc, and of where the arena has pages. Only data is locked, see
    link/layout.py.
    """
    data = ArenaLayout(max_bytes).data
    locked = [extent for extent, is_locked, _ in _arena_maps(maps) if is_locked]
    held = [range(max(extent.start, data), extent.stop) for extent in extents]
    loose = sum(len(extent) - sum(_shared(extent, other) for other in locked) for extent in held)
    swapped = sum(swap for extent, _, swap in _arena_maps(maps) if extent.start >= data)
    found = _MEMLOCK.search(limits)
    limit = None if found is None or found[1] == "unlimited" else int(found[1])
    return Arena(sum(map(len, locked)), loose, swapped, limit, max_bytes)


def _shared(one: range, other: range) -> int:
    return max(0, min(one.stop, other.stop) - max(one.start, other.start))


def _arena_maps(maps: str) -> list[tuple[range, bool, int]]:
    """Of each mapping of the arena: which part of it, whether it is locked, bytes that are swapped out.

    "Locked:" will not do: it is divided by the number of processes that have the page.
    """
    found = []
    for match in _VMA.finditer(maps):
        start, end, offset = (int(number, 16) for number in match.group(1, 2, 3))
        swap = _SWAP.search(match[4])
        locked = " lo" in (_FLAGS.search(match[4]) or [""])[0]
        found.append((range(offset, offset + end - start), locked, int(swap[1]) * _KIB if swap else 0))
    return found


def _arena(pid: int, max_bytes: int) -> Arena | None:
    maps, limits, extents = text_whole(f"/proc/{pid}/smaps"), text(f"/proc/{pid}/limits"), _extents(pid)
    if maps is None or limits is None or extents is None:
        return None
    return arena_of(maps, limits, max_bytes, extents)


def _extents(pid: int) -> list[range] | None:
    """Where the arena has pages; what is in them is not read."""
    try:
        fd = _opened_arena(f"/proc/{pid}/fd")
    except OSError:
        return None
    found: list[range] = []
    try:
        while True:
            start = os.lseek(fd, found[-1].stop if found else 0, os.SEEK_DATA)
            found.append(range(start, os.lseek(fd, start, os.SEEK_HOLE)))
    except OSError:  # ENXIO: no more
        return found
    finally:
        os.close(fd)


def _opened_arena(place: str) -> int:
    for name in os.listdir(place):
        if os.readlink(f"{place}/{name}").startswith(f"/memfd:{_ARENA} "):
            return os.open(f"{place}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    raise FileNotFoundError(place)


def text_whole(path: str) -> str | None:
    """A file of /proc of any length."""
    try:
        return os.fsdecode(Path(path).read_bytes())
    except OSError:
        return None


def _holder(path: str) -> int | None:
    """Who has flock(2)ed the file, from proc_locks(5). The device number is not compared: on some file systems stat(2)
    has another. So the process must be a supervisor as well.
    """
    try:
        inode = str(os.stat(path).st_ino)
    except OSError:
        return None
    fields = [line.split() for line in (text("/proc/locks") or "").splitlines()]
    pids = [int(each[4]) for each in fields if each[1] == "FLOCK" and each[5].rpartition(":")[2] == inode]
    return next((pid for pid in pids if pid > 0 and _module_of(str(pid)) == "supervisor"), None)


def _module_of(pid: str) -> str:
    """Which of the three it is; empty for any other process, and for a zombie."""
    found = _MODULE.search(os.fsencode(text(f"/proc/{pid}/cmdline") or ""))
    return found[1].decode() if found else ""


def _start_of(pid: int) -> SupervisorStart | None:
    words = (text(f"/proc/{pid}/cmdline") or "").split("\0")[:-1]
    try:
        return SupervisorStart.parse(words[words.index("secretfs.supervisor") + 1 :])
    except (ValueError, LinkError):  # of a newer version
        return None


def _older(pid: int) -> bool:
    """Whether it began before the files of this program were written."""
    try:
        began = _boot_time() + process.start_ticks(pid) / os.sysconf("SC_CLK_TCK")
    except ProcessLookupError:
        return False
    return began < max(file.stat().st_mtime for file in _PACKAGE.rglob("*.py"))


def _boot_time() -> int:
    found = re.search(r"^btime (\d+)$", text("/proc/stat") or "", re.MULTILINE)
    return int(found[1]) if found else 0


def _kept(pid: int, module: str, supervisors: set[int]) -> bool | None:
    """Whether a living supervisor has it: as a child, or by a pidfd, as an adopted fs. None: that cannot be seen."""
    if module == "supervisor":
        return True
    if _parent_of(pid) in supervisors:
        return True
    watched: bool | None = False
    for supervisor in supervisors:
        held = _watches(supervisor, pid)
        if held:
            return True
        watched = None if held is None else watched
    return watched


def _has_our_uid(pid: int) -> bool:
    """By its status: /proc/PID itself is root's, when the process may not be dumped."""
    found = re.search(r"^Uid:\t(\d+)", text(f"/proc/{pid}/status") or "", re.MULTILINE)
    return bool(found and int(found[1]) == os.geteuid())


def _parent_of(pid: int) -> int:
    fields = (text(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _watches(supervisor: int, pid: int) -> bool | None:
    place = f"/proc/{supervisor}/fdinfo"
    try:
        names = os.listdir(place)
    except PermissionError:
        return None
    except OSError:
        return False
    return any(f"\nPid:\t{pid}\n" in (text(f"{place}/{name}") or "") for name in names)


def _socket(path: str, listening: frozenset[str]) -> Socket:
    name = os.path.basename(path)
    try:
        found = os.lstat(path)
    except OSError:
        return Socket(name, path in listening, None)
    return Socket(name, path in listening, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def _size_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None
