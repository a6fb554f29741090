"""A host for an ordinary user, for a moment: a mount namespace in which Python and this repository can be reached,
though they may lie below root's own directories, and in which /dev/fuse is open to all, as on most hosts.

``ordinary.py WORK_DIR FUSE_MODE`` prepares it, says so, and keeps it until its standard input ends.
"""

import os
import stat
import subprocess
import sys
from pathlib import Path

from as_user import open_up

from secretfs.linux import namespaces
from secretfs.linux.mount import MS_BIND, MS_PRIVATE, MS_REC, mount

UID = 4242
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


def main() -> None:
    work, mode = Path(sys.argv[1]), int(sys.argv[2], 8)
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    device = work / "fuse"
    os.mknod(device, stat.S_IFCHR, _FUSE)
    device.chmod(mode)
    mount(str(device), "/dev/fuse", flags=MS_BIND)
    open_up()
    os.write(1, b"ready\n")
    sys.stdin.read()


if __name__ == "__main__":
    main()
