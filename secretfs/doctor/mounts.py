"""Looks at the mounts of secretfs: in this mount namespace, and in those of every process that can be looked at."""

import os
from typing import Final

from secretfs.doctor.facts import Answer, MountState
from secretfs.doctor.trial import answer_of
from secretfs.linux import mountinfo
from secretfs.linux.mountinfo import Mount
from secretfs.linux.namespaces import ns_inode
from secretfs.supervisor.mountpoint import secretfs_mount

MAX_ASKED: Final = 8  # file systems: one that is silent costs seconds


def mount_states() -> tuple[tuple[MountState, ...], int]:
    """Each file system once, and how many processes could not be looked at."""
    found, unseen = _by_device()
    asked = list(found.items())[:MAX_ASKED]
    states = tuple(MountState(device, mount.path, pid, _answer(pid, mount)) for device, (pid, mount) in asked)
    rest = tuple(
        MountState(device, mount.path, pid, Answer.UNSEEN) for device, (pid, mount) in list(found.items())[MAX_ASKED:]
    )
    return states + rest, unseen


def _by_device() -> tuple[dict[str, tuple[int, Mount]], int]:
    """A mount of each file system, and a process that has it; ours first."""
    found: dict[str, tuple[int, Mount]] = {}
    seen: set[int] = set()
    unseen = 0
    for pid in [os.getpid(), *(int(name) for name in os.listdir("/proc") if name.isdecimal())]:
        try:
            namespace = ns_inode(pid, "mnt")
            if namespace not in seen:
                for mount in mountinfo.mounts(pid):
                    if secretfs_mount(mount):
                        found.setdefault(mount.device, (pid, mount))
                seen.add(namespace)
        except PermissionError:
            unseen += 1
        except OSError:  # ended, or ending
            continue
    return found, unseen


def _answer(pid: int, mount: Mount) -> Answer:
    return answer_of(mount.path if pid == os.getpid() else f"/proc/{pid}/root{mount.path}")
