"""What a daemon takes when it is at rest: how much there is of everything that could become more and more.

Two kinds. *Counts* come back to exactly what they were, so they are waited for. *Memory* is each process's own
(Pss_Anon): what it maps of files and of the arena is shared, and its part of that changes with who else runs. The
arena's data is among the counts; its journal grows to twice 16 MiB by design, and is no leak.
"""

import contextlib
import mmap
import os
import select
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemons import Daemon

from secretfs.fs.journal import Journal
from secretfs.fs.manifest import Manifest
from secretfs.link.layout import PAGE, ArenaLayout, pages

DATA_BYTES = 256 << 20  # --arena-max, as it is by default
LOOK_SECONDS = 0.05
REST_SECONDS = 30  # trio keeps an idle thread for 10
EQUAL_LOOKS = 10
MOST_THREADS = {"supervisor": 11, "fs": 3, "control": 3, "standby": 2}  # 8 of the broker's come as they are needed


@dataclass(frozen=True)
class Counts:
    """Of the daemon, when nothing happens."""

    descriptors: dict[str, int]  # by process
    too_many_threads: dict[str, int]  # by process
    children: int  # of the supervisor, dead ones included
    mounts: int  # in our mount namespace, and those of its processes and tasks
    nodes: int
    slots: int
    drains: int
    notices: int
    stray_pages: int  # of the arena's data: that hold a byte, beyond those of the slots
    records: dict[str, int]  # of the store, by their kind, without the audit
    files: list[str]  # in the runtime directory
    tasks: int

    def unlike(self, other: "Counts") -> dict[str, tuple[object, object]]:
        """Where they differ: what it is here, and there."""
        ours, theirs = asdict(self), asdict(other)
        return {name: (value, theirs[name]) for name, value in ours.items() if value != theirs[name]}


@dataclass(frozen=True)
class Sample:
    """Counts, memory, and how much had been done when they were taken."""

    when: str
    operations: int
    counts: Counts
    own_kib: dict[str, int] = field(repr=False)  # Pss_Anon
    pss_kib: dict[str, int] = field(repr=False)

    def __str__(self) -> str:
        memory = ", ".join(f"{name} {self.own_kib[name]} ({self.pss_kib[name]})" for name in self.own_kib)
        return f"{self.when}: {self.operations} operations; own KiB (and PSS): {memory}"


def counted(daemon: Daemon) -> Counts:
    """Now; raises where a process is just being replaced."""
    pids = pids_of(daemon)
    tasks = daemon.api("GET", "/secretfs/v1/tasks")
    threads = {name: len(os.listdir(f"/proc/{pid}/task")) for name, pid in pids.items()}
    with _arena(daemon) as (memory, fd):
        manifest = Manifest(Journal(memory, ArenaLayout(DATA_BYTES)))
        shown = sum(pages(slot.size) for slot in manifest.slots.values())
        return Counts(
            descriptors={name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in pids.items()},
            too_many_threads={name: count for name, count in threads.items() if count > MOST_THREADS[name]},
            children=len(Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()),
            mounts=_mounts(daemon, ["self", *pids.values(), *(task["PID"] for task in tasks)]),
            nodes=len(manifest.nodes),
            slots=len(manifest.slots),
            drains=len(manifest.drains),
            notices=len(manifest.notices),
            stray_pages=_dirty(fd) - shown,
            records=_records(daemon),
            files=sorted(str(path.relative_to(daemon.runtime)) for path in daemon.runtime.rglob("*")),
            tasks=len(tasks),
        )


def settled(daemon: Daemon) -> Counts:
    """The first counts that stay what they are for a while."""
    found, equal = None, 0
    for counts in _looks(daemon):
        found, equal = counts, equal + 1 if counts == found else 0
        if equal == EQUAL_LOOKS:
            return counts
    raise AssertionError(f"the daemon does not come to rest: {found}")


def returned(daemon: Daemon, to: Counts) -> Counts:
    """When they are again what they were. They have REST_SECONDS for it: what leaks never comes back."""
    unlike: dict[str, Any] = {}
    for counts in _looks(daemon):
        if not (unlike := counts.unlike(to)):
            return counts
    raise AssertionError(f"at rest there is something more, or less, than before: {unlike}")


def sample(daemon: Daemon, when: str, operations: int, counts: Counts) -> Sample:
    """With the memory of now."""
    rollups = {name: _rollup(pid) for name, pid in pids_of(daemon).items()}
    own = {name: rollup["Pss_Anon"] for name, rollup in rollups.items()}
    return Sample(when, operations, counts, own, {name: rollup["Pss"] for name, rollup in rollups.items()})


def pids_of(daemon: Daemon) -> dict[str, int]:
    """The four; KeyError when one is missing. fs may be an earlier supervisor's child."""
    found = {"supervisor": daemon.pid, "standby": daemon.standby(), **daemon.children(), "fs": daemon.fs_pid()}
    return {name: found[name] for name in MOST_THREADS}


def _looks(daemon: Daemon) -> Iterator[Counts]:
    deadline = time.monotonic() + REST_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, KeyError):
            yield counted(daemon)
        select.select([], [], [], LOOK_SECONDS)


@contextlib.contextmanager
def _arena(daemon: Daemon) -> Iterator[tuple[mmap.mmap, int]]:
    """A private copy, as a reader of a journal ends it where its writer has died, and the memory file itself."""
    [path, *_] = [path for path in Path(f"/proc/{daemon.pid}/fd").iterdir() if "secretfs-arena" in _link(path)]
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.fstat(fd).st_size == ArenaLayout(DATA_BYTES).total
        with mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
            yield memory, fd
    finally:
        os.close(fd)


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _dirty(fd: int) -> int:
    at, end, dirty = ArenaLayout(DATA_BYTES).data, os.fstat(fd).st_size, 0
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole to the end
            break
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        while at < hole:
            dirty += any(os.pread(fd, PAGE, at))
            at += PAGE
    return dirty


def _mounts(daemon: Daemon, pids: Iterable[int | str]) -> int:
    """In each of their mount namespaces once. Those of others may have a copy of ours, for a while."""
    device = next(line.split()[2] for line in _mountinfo("self") if line.split()[4] == str(daemon.mountpoint))
    namespaces = {os.stat(f"/proc/{pid}/ns/mnt").st_ino: pid for pid in pids}
    return sum(line.split()[2] == device for pid in namespaces.values() for line in _mountinfo(pid))


def _mountinfo(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


def _records(daemon: Daemon) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(f"file:{daemon.state}/secretfs.db?mode=ro", uri=True)) as database:
        keys = [key for (key,) in database.execute("SELECT CAST(key AS TEXT) FROM record")]
    kinds = Counter(key.partition("/")[0] for key in keys)
    return {kind: count for kind, count in sorted(kinds.items()) if kind != "audit"}


def _rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(words.split()[0]) for name, _, words in (line.partition(":") for line in lines)}
