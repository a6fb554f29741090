"""Podman with storage and configuration of its own."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.engine import IMAGE, image
from benchmarks.work import Work, run, unmount_below

_CACHE: Final = Path("/var/lib/containers/cache")  # of blobs, for root: no option and no variable moves it
_CONFIGURATION: Final = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
log_driver = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
"""


@dataclass(frozen=True, slots=True)
class Podman:
    """Image ``busybox`` and a secret ``bench`` are there."""

    words: list[str]
    environment: dict[str, str]


@contextlib.contextmanager
def podman(work: Work) -> Iterator[Podman]:
    """For the length of a part."""
    base = work.directory("podman")
    (base / "containers.conf").write_text(_CONFIGURATION)
    environment = os.environ | {"CONTAINERS_CONF": str(base / "containers.conf")}
    words = ["podman", "--storage-driver=vfs"]
    words += [f"--{kind}={base / kind}" for kind in ("root", "runroot", "tmpdir")]
    found = Podman(words, environment)
    known = _CACHE.exists()
    try:
        run([*words, "import", "--quiet", "-", IMAGE], data=image(work), environment=environment)
        run([*words, "secret", "create", "bench", "-"], data=b"a value", environment=environment)
        yield found
    finally:
        unmount_below(base)
        if not known:
            shutil.rmtree(_CACHE, ignore_errors=True)
            with contextlib.suppress(OSError):
                _CACHE.parent.rmdir()
