"""The file systems that are compared: each with the same tree, each for the length of a ``with``.

s0 .. s99 of 64 bytes, big of 511,999 (the most that a secret may have), d1k/f0 .. f999.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.daemon import Daemon, create_secret, create_service, daemon
from benchmarks.work import Work, pin, pinned, run, running, saying, unmount, wait_until_mounted

SMALL_FILES: Final = 100
SMALL_BYTES: Final = 64
LARGE_BYTES: Final = 511_999
LISTED: Final = 1000


@dataclass(frozen=True, slots=True)
class Processors:
    """Who may run where."""

    daemons: frozenset[int]
    clients: frozenset[int]


FileSystem = Callable[[Work, Processors], AbstractContextManager[Path]]


def _fill(directory: Path) -> None:
    for number in range(SMALL_FILES):
        (directory / f"s{number}").write_bytes(os.urandom(SMALL_BYTES))
    (directory / "big").write_bytes(os.urandom(LARGE_BYTES))
    (directory / "d1k").mkdir()
    for number in range(LISTED):
        (directory / "d1k" / f"f{number}").write_bytes(bytes(SMALL_BYTES))


@contextlib.contextmanager
def _empty(work: Work, kind: str, name: str) -> Iterator[Path]:
    path = work.directory("mounts", name)
    run(["mount", "-t", kind, kind, str(path)])
    try:
        yield path
    finally:
        unmount(path)


def _in_memory(kind: str) -> FileSystem:
    @contextlib.contextmanager
    def mounted(work: Work, _processors: Processors) -> Iterator[Path]:
        with _empty(work, kind, kind) as path:
            _fill(path)
            yield path

    return mounted


@contextlib.contextmanager
def _served(work: Work, name: str, processors: Processors, command: list[str]) -> Iterator[Path]:
    """What a program that stays in the foreground mounts on its word ``MOUNTPOINT``."""
    path, log = work.directory("mounts", name), work.directory("logs") / name
    words = [str(path) if word == "MOUNTPOINT" else word for word in command]
    with running(pinned(processors.daemons, *words), log) as process:
        try:
            wait_until_mounted(path, process, log)
            yield path
        finally:
            unmount(path)


def _floor(kind: str) -> FileSystem:
    @contextlib.contextmanager
    def mounted(work: Work, processors: Processors) -> Iterator[Path]:
        libfuse = run(["pkg-config", "--cflags", "--libs", "fuse3"]).decode().split()
        command = [work.compiled("floor", *libfuse), "MOUNTPOINT", kind]
        with _served(work, f"floor-{kind}", processors, command) as path:
            yield path

    return mounted


@contextlib.contextmanager
def _bindfs(work: Work, processors: Processors) -> Iterator[Path]:
    with _empty(work, "tmpfs", "bindfs-source") as source:
        _fill(source)
        with _served(work, "bindfs", processors, ["bindfs", "-f", str(source), "MOUNTPOINT"]) as path:
            yield path


@contextlib.contextmanager
def _gocryptfs(work: Work, processors: Processors) -> Iterator[Path]:
    """Kept to its processors when it is ready: with a single one, its runtime spins for ever when it is asked before.
    Filled by another process, which can be killed when it waits for ever.
    """
    with _empty(work, "tmpfs", "gocryptfs-source") as source, _empty(work, "tmpfs", "gocryptfs-clear") as clear:
        _fill(clear)
        key, path = work.root / "gocryptfs.key", work.directory("mounts", "gocryptfs")
        key.write_text("not a secret\n")
        run(["gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", str(key), str(source)])
        command = ["gocryptfs", "-fg", "-nosyslog", "-allow_other", "-passfile", str(key), str(source), str(path)]
        with saying(command, "mounted and ready") as pid:
            try:
                run(["cp", "-r", f"{clear}/.", str(path)])
                pin(pid, processors.daemons)
                yield path
            finally:
                unmount(path)


@contextlib.contextmanager
def _secretfs(work: Work, processors: Processors) -> Iterator[Path]:
    """It decides at its start by the processors that it may run on whether to spin: so it is told of the clients' too,
    and kept to its own afterwards.
    """
    with daemon(work, "files", processors.daemons | processors.clients) as found:
        _grant_tree(found)
        found.pin(processors.daemons)
        with _mounted(work, found) as path:
            yield path


def _grant_tree(found: Daemon) -> None:
    """The tree as the grants of one service, given in one call."""
    with found.api() as api:
        sizes = {f"s{number}": SMALL_BYTES for number in range(SMALL_FILES)} | {"big": LARGE_BYTES}
        grants = {name: (name, create_secret(api, name, os.urandom(size))) for name, size in sizes.items()}
        listed = ("listed", create_secret(api, "listed", bytes(SMALL_BYTES)))
        create_service(api, "bench", grants | {f"d1k/f{number}": listed for number in range(LISTED)})


@contextlib.contextmanager
def _mounted(work: Work, found: Daemon) -> Iterator[Path]:
    """The tree of a task of that service, where every process here can reach it."""
    path = work.directory("mounts", "secretfs")
    with saying([*found.words, "mount", str(path), "--service", "bench"], "mounted on"):
        yield path


TMPFS: Final = "tmpfs"
FLOOR: Final = "C direct_io"
SECRETFS: Final = "secretfs"
FILE_SYSTEMS: Final[dict[str, FileSystem]] = {
    TMPFS: _in_memory("tmpfs"),
    "ramfs": _in_memory("ramfs"),
    FLOOR: _floor("direct"),
    "C page cache": _floor("cached"),
    "bindfs": _bindfs,
    "gocryptfs": _gocryptfs,
    SECRETFS: _secretfs,
}
