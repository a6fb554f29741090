"""A host for an ordinary user, for a moment: a mount namespace in which Python and this repository can be reached,
though they may lie below root's own directories, and in which /dev/fuse is open to all, as on most hosts.

``ordinary.py WORK_DIR FUSE_MODE`` prepares it, says so, and keeps it until its standard input ends.
"""

import os
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

from secretfs.linux import namespaces
from secretfs.linux.mount import AT_FDCWD, MS_BIND, MS_PRIVATE, MS_REC, mount, move_mount, open_tree

UID = 4242
REPOSITORY = Path(__file__).parents[2]
_FUSE = os.makedev(10, 229)


class Host:
    """The namespace, and commands of the user in it."""

    def __init__(self, work: Path, *, fuse_mode: int = 0o666) -> None:
        self._keeper = subprocess.Popen(
            [sys.executable, __file__, str(work), f"{fuse_mode:o}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout
        assert self._keeper.stdout.readline() == b"ready\n"

    @property
    def prefix(self) -> list[str]:
        """What goes before a command."""
        drop = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all"]
        return ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", *drop]

    def end(self) -> None:
        with self._keeper:
            self._keeper.kill()


def _needed() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    return [Path(sys.base_prefix).resolve(), library.resolve(), Path(sys.prefix).resolve(), REPOSITORY.resolve()]


def _closed_ancestor(path: Path) -> Path | None:
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & stat.S_IXOTH), None)


def _make_reachable() -> None:
    closed: dict[Path, list[Path]] = {}
    for path in _needed():
        ancestor = _closed_ancestor(path)
        if ancestor:
            closed.setdefault(ancestor, []).append(path)
    for ancestor, paths in closed.items():
        outermost = [path for path in set(paths) if not set(path.parents) & set(paths)]
        trees = [(path, open_tree(str(path))) for path in outermost]
        mount("tmpfs", str(ancestor), "tmpfs", 0, "mode=755,size=1m")
        for path, tree in trees:
            path.mkdir(parents=True)
            move_mount(tree, "", AT_FDCWD, str(path))


def main() -> None:
    work, mode = Path(sys.argv[1]), int(sys.argv[2], 8)
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    device = work / "fuse"
    os.mknod(device, stat.S_IFCHR, _FUSE)
    device.chmod(mode)
    mount(str(device), "/dev/fuse", flags=MS_BIND)
    _make_reachable()
    os.write(1, b"ready\n")
    sys.stdin.read()


if __name__ == "__main__":
    main()
