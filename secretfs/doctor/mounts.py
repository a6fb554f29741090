"""Looks at the mounts of secretfs: in this mount namespace, and in those of every process that can be looked at.

Anybody can mount something that calls itself secretfs. Which ones a daemon has made is in the note that it keeps for
its successor (supervisor/record.py), and can be told by who may read that.
"""

import os
from typing import Final

from secretfs.doctor.facts import Answer, MountState
from secretfs.doctor.trial import answer_of
from secretfs.linux import mountinfo
from secretfs.linux.mountinfo import Mount
from secretfs.linux.namespaces import ns_inode
from secretfs.supervisor.mountpoint import secretfs_mount
from secretfs.supervisor.record import RECORD, Record

MAX_ASKED: Final = 8  # file systems: one that is silent costs seconds


def mount_states(runtime_dir: str) -> tuple[tuple[MountState, ...], int]:
    """Each file system once, those of the daemon first, and how many processes could not be looked at."""
    found, unseen = _by_device()
    noted = _noted(runtime_dir)
    states: list[MountState] = []
    for device, (pid, mount) in sorted(found.items(), key=lambda each: each[0] not in (noted or ())):
        answer = _answer(pid, mount) if len(states) < MAX_ASKED else Answer.UNSEEN
        states.append(MountState(device, mount.path, pid, answer, None if noted is None else device in noted))
    return tuple(states), unseen


def _noted(runtime_dir: str) -> frozenset[str] | None:
    """The devices of the daemon; None when they cannot be told."""
    if not os.access(os.path.join(runtime_dir, RECORD), os.R_OK):
        return None
    try:
        return Record.found(runtime_dir).devices()
    except OSError:
        return None


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
