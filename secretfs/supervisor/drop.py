"""``python -m secretfs.supervisor.drop MOUNTPOINT TASK DEVICE…``: take the mounts of a task's tree away, everywhere.

``secretfs mount`` puts a tree where it stays when the task has ended, by kill -9 for instance. Dropped are mounts of
that very task's tree, in every mount namespace: those of the connection at MOUNTPOINT, and those of a DEVICE that was
this daemon's (record.py), and whose connection is over. No others, whatever they look like. What somebody has mounted
on top stays, and so does what lies below it.

A process of its own, as for repair.py.
"""

import contextlib
import os
import sys
from collections.abc import Collection

from secretfs.linux import mountinfo, process
from secretfs.linux.mountinfo import Mount
from secretfs.supervisor import log
from secretfs.supervisor.mountpoint import secretfs_mount
from secretfs.supervisor.record import standing
from secretfs.supervisor.visits import Visits, task_of


def dropped(task: str, device: str, former: Collection[str] = ()) -> tuple[int, int]:
    """How many mounts were taken away, and how many are left. For a process of one thread.

    ``device``: of the connection that the task's tree is on now; ``former``: of those before. Raises OSError when /proc
    is not what it should be.
    """
    gone = left = 0
    visits = Visits()
    for namespace, pid, table in visits.tables():
        ids = {
            mount.id
            for mount in table
            if mount.device in {device, *former} and secretfs_mount(mount) and task_of(mount) == task
        }
        if not ids:
            continue
        try:
            with visits.inside(pid, namespace) as mounts:
                results = [_drop(visits, mount, device) for mount in reversed(mounts) if mount.id in ids]
            gone, left = gone + results.count(True), left + results.count(False)
        except OSError as refusal:
            log.warning("a mount namespace cannot be entered", pid=pid, error=str(refusal))
            left += len(ids)
    return gone, left


def _drop(visits: Visits, mount: Mount, device: str) -> bool | None:
    """Whether it is gone; None when it is another's, or when what it is mounted on cannot be seen any more."""
    try:
        with visits.topmost(mount) as fd:
            if mount.device != device and not (standing({mount.device}) and visits.dead(mount, fd)):
                return None
            visits.take_away(fd)
    except FileNotFoundError:
        return None
    except OSError as refusal:
        log.warning("the mount of a task that has ended stays", path=mount.path, root=mount.root, error=str(refusal))
        return False
    return True


def main() -> int:
    """Drop, and say on stdout how many mounts are gone and how many are not."""
    mountpoint, task, *former = sys.argv[1:]
    process.set_dumpable(False)
    try:
        found = mountinfo.mount_at(mountpoint)
        gone, left = dropped(task, found.device if found else "", standing(former))
    except OSError as refusal:
        log.error("nothing can be dropped", error=str(refusal))
        return 1
    with contextlib.suppress(BrokenPipeError):  # the supervisor was killed: the next one is asked anew
        os.write(1, f"{gone} {left}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
