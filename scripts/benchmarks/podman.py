"""Podman with storage and configuration of its own."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.engine import IMAGE, image
from benchmarks.work import Work, run, unmount_below

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
    try:
        run([*words, "import", "--quiet", "-", IMAGE], data=image(work), environment=environment)
        run([*words, "secret", "create", "bench", "-"], data=b"a value", environment=environment)
        yield found
    finally:
        unmount_below(base)
