"""``as_user.py UID GID[,GID...] COMMAND...``: become a user who can reach this checkout and its Python, and run that.

What lies above them may be closed (a Python in /root): in a mount namespace of its own, that is covered up to there.
"""

import os
import stat
import sys
from pathlib import Path

from secretfs.linux import mount, namespaces

CHECKOUT = Path(__file__).resolve().parents[2]
PLACES = {CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)}


def closed_above(place: Path) -> Path | None:
    """The outermost directory that others may not pass."""
    return next((above for above in [*reversed(place.parents)] if not above.stat().st_mode & stat.S_IXOTH), None)


def open_up() -> None:
    covered = {place: above for place in sorted(PLACES) if (above := closed_above(place))}
    if not covered:
        return
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mount.mount(None, "/", flags=mount.MS_REC | mount.MS_SLAVE)
    fds = {place: os.open(place, os.O_PATH) for place in covered}
    for above in set(covered.values()):
        mount.mount("none", str(above), "tmpfs", data="mode=755")
    for place, fd in fds.items():
        place.mkdir(parents=True, exist_ok=True)
        mount.mount(f"/proc/self/fd/{fd}", str(place), flags=mount.MS_BIND | mount.MS_REC)
        os.close(fd)


def main() -> None:
    uid, gids, *command = sys.argv[1:]
    groups = [int(gid) for gid in gids.split(",")]
    os.umask(0o022)
    open_up()
    os.setgroups(groups[1:])
    os.setresgid(groups[0], groups[0], groups[0])
    os.setresuid(int(uid), int(uid), int(uid))
    os.execvpe(command[0], command, {**os.environ, "HOME": "/"})


if __name__ == "__main__":
    main()
