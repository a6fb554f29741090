"""``python -m secretfs.supervisor.repair MOUNTPOINT DEVICE…``: put living trees where tasks still have dead ones.

After the end of a connection every mount of it fails, in whatever mount namespace it is. The new connection shows the
same trees under the same names. So: for each mount of a DEVICE, which are those of connections that were this daemon's
(record.py), and whose tree the connection at MOUNTPOINT has, a detached mount of the tree goes *beneath* the dead
mount, and then the dead one away: there is no moment without a mount. Where that is refused (the mount came from
another user namespace, or the kernel is older than 6.5) it goes on top. Nothing else counts: whoever may mount FUSE can
make a mount that looks like a dead tree of ours, and would be given the living one.

A process of its own, because entering a mount namespace needs one of a single thread; and because a path into the mount
is answered by fs, so it may have to be given up.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from secretfs.errors import SetupError
from secretfs.linux import mountinfo, process
from secretfs.linux.mount import (
    MOVE_MOUNT_BENEATH,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    move_mount,
    open_tree,
)
from secretfs.linux.mountinfo import Mount
from secretfs.supervisor import log
from secretfs.supervisor.mountpoint import secretfs_mount
from secretfs.supervisor.record import standing
from secretfs.supervisor.visits import Visits, root_of, task_of

_ROUNDS: Final = 5  # a namespace may be copied while another is repaired
_ON_TOP: Final = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH


@dataclass(frozen=True, slots=True)
class Place:
    """A mount namespace with dead mounts in it, by a process that is in it."""

    namespace: int
    pid: int
    dead: tuple[Mount, ...]


class Repair:
    """One repair of everything."""

    def __init__(self, mountpoint: str, devices: Iterable[str]) -> None:
        """Raises SetupError when no secretfs is there, and OSError."""
        found = mountinfo.mount_at(mountpoint)
        if found is None or not secretfs_mount(found):
            raise SetupError(f"nothing of secretfs is mounted on {mountpoint!r}")
        self._mountpoint = mountpoint
        self._devices = standing(devices) - {found.device}
        self._visits = Visits()
        self._given_up: set[tuple[int, int]] = set()
        self.replaced = 0

    @property
    def failed(self) -> int:
        """Mounts that are as dead as they were."""
        return len(self._given_up)

    def run(self) -> None:
        """Repair until nothing is left that can be. Raises OSError when /proc is not what it should be."""
        for _ in range(_ROUNDS):
            before = self.replaced
            for place in self._places():
                self._repair(place)
            if self.replaced == before:
                return

    def _places(self) -> Iterator[Place]:
        for namespace, pid, table in self._visits.tables():
            yield Place(namespace, pid, tuple(mount for mount in table if self._is_former(mount)))

    def _is_former(self, mount: Mount) -> bool:
        """Whether it is a tree of a connection that was ours."""
        return mount.device in self._devices and secretfs_mount(mount) and task_of(mount) is not None

    def _repair(self, place: Place) -> None:
        trees = {mount.id: tree for mount in place.dead if (tree := self._tree(mount)) is not None}
        try:
            if trees:
                with self._visits.inside(place.pid, place.namespace) as table:
                    self._replace(place.namespace, trees, table)
        except OSError as refusal:
            log.warning("a mount namespace cannot be repaired", pid=place.pid, error=str(refusal))
            self._given_up |= {(place.namespace, mount) for mount in trees}
        finally:
            for tree in trees.values():
                os.close(tree)

    def _tree(self, mount: Mount) -> int | None:
        """A detached mount of the living tree; None when there is no such tree: the task has ended, or is another's."""
        try:
            return open_tree(self._mountpoint + root_of(mount))
        except OSError:
            return None

    def _replace(self, namespace: int, trees: dict[int, int], table: list[Mount]) -> None:
        """Inside: the paths are those from the namespace's root, which a task in a chroot would not see."""
        for mount in table:
            tree = trees.get(mount.id)
            if tree is None or (namespace, mount.id) in self._given_up or _covered(mount, table):
                continue
            try:
                self.replaced += self._put(mount, tree)
            except OSError as refusal:
                self._given_up.add((namespace, mount.id))
                log.warning("a dead mount stays", path=mount.path, root=mount.root, error=str(refusal))

    def _put(self, mount: Mount, tree: int) -> bool:
        """Whether it was dead; now the living tree is there."""
        with self._visits.topmost(mount) as target:
            if not standing({mount.device}) or not self._visits.dead(mount, target):
                return False
            try:
                move_mount(tree, "", target, "", _ON_TOP | MOVE_MOUNT_BENEATH)
            except OSError as refusal:
                log.info("not beneath, but on top of a dead mount", path=mount.path, error=refusal.strerror)
                move_mount(tree, "", target, "", _ON_TOP)
            else:
                self._visits.take_away(target)
        return True


def _covered(mount: Mount, table: list[Mount]) -> bool:
    """Whether the same tree is mounted on top: that one counts, be it dead or alive."""
    return any(other.parent == mount.id and root_of(other) == root_of(mount) for other in table)


def main() -> int:
    """Repair, and say on stdout how many mounts were replaced and how many could not be."""
    process.set_dumpable(False)
    try:
        repair = Repair(sys.argv[1], sys.argv[2:])
        repair.run()
    except (OSError, SetupError) as refusal:
        log.error("nothing can be repaired", error=str(refusal))
        return 1
    with contextlib.suppress(BrokenPipeError):  # the supervisor was killed: the next one asks anew
        os.write(1, f"{repair.replaced} {repair.failed}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
