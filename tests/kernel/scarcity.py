"""Taking things away from a process that runs: memory, and system calls that succeed."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def little_memory(pid: int, more_bytes: int) -> Iterator[None]:
    """What it has it keeps; the kernel kills it when it takes more than so much more."""
    place, limit = _cgroup()
    place /= f"secretfs-test-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as refusal:
        pytest.skip(f"cgroups cannot be made here: {refusal}")
    try:
        (place / limit).write_text(str(more_bytes))
        (place / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for left in (place / "cgroup.procs").read_text().split():
            (place.parent / "cgroup.procs").write_text(left)
        place.rmdir()


def _cgroup() -> tuple[Path, str]:
    """Where one can be made, and the name of its limit, in version 1 or 2."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    if (first / "memory.limit_in_bytes").exists():
        return first, "memory.limit_in_bytes"
    controllers = second / "cgroup.subtree_control"
    if not controllers.exists() or "memory" not in controllers.read_text().split():
        pytest.skip("no memory cgroups here")
    return second, "memory.max"


@contextlib.contextmanager
def failing(pid: int, calls: str, error: str) -> Iterator[None]:
    """Each of these system calls fails, in all threads."""
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
    with subprocess.Popen(
        ["strace", "-f", *inject, "-o", os.devnull, "-p", str(pid)], stderr=subprocess.PIPE
    ) as strace:
        assert strace.stderr
        assert b"attached" in strace.stderr.readline()
        try:
            yield
        finally:
            strace.terminate()
