"""What a daemon notes in its runtime directory for the next one: the devices of the FUSE connections that it has made
in this boot. Root's alone.

Which mount is whose? What a mount says of itself, its source, type and root, that of any user can say as well. The
number of its device is the kernel's word. One of ours is no other's as long as a mount of it is left anywhere, dead or
alive; then the kernel gives it to the next who mounts. So a number counts that is noted here *and* whose mount is
root's, which no user can pretend (linux/fusectl.py). Where that cannot be asked, in a user namespace mostly, the note
has to do: of mounts in others than this user's own namespaces, a rootless daemon changes none.

Where there is no note, an older secretfs was here. Then the mount at our mountpoint says which device was ours: only
root could put it there.
"""

import json
import os
from collections.abc import Iterable
from typing import Final, Self

from secretfs.linux import fusectl, mountinfo
from secretfs.linux.process import boot_id
from secretfs.supervisor import log
from secretfs.supervisor.mountpoint import secretfs_mount

RECORD: Final = "daemon.record"


class Record:
    """The note, and its file."""

    def __init__(self, directory: str, devices: Iterable[str] = ()) -> None:
        self._path = os.path.join(directory, RECORD)
        self._devices = frozenset(devices)

    @classmethod
    def found(cls, directory: str) -> Self:
        """That of this boot; an empty one where there is none."""
        try:
            with open(os.path.join(directory, RECORD), encoding="utf-8", opener=_not_by_link) as file:
                noted = json.load(file)
            if noted["boot"] == boot_id():
                return cls(directory, map(str, noted["devices"]))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError) as broken:
            log.warning("what the last daemon has noted cannot be read", error=str(broken))
        return cls(directory)

    def devices(self) -> frozenset[str]:
        """Ours, those of which mounts are left somewhere. Raises OSError when that cannot be asked."""
        return standing(self._devices)

    def add(self, device: str) -> None:
        """Note one more, and forget those of which no mount is left."""
        self._devices |= {device} if device else set()
        try:
            self._devices = self.devices()
            self._write()
        except OSError as refusal:
            log.error("not noted for the next daemon", device=device, error=str(refusal))

    def add_mounted(self, mountpoint: str) -> None:
        """Note the one at our mountpoint, if it has one."""
        try:
            found = mountinfo.mount_at(mountpoint)
        except OSError:  # no such directory
            return
        if found and secretfs_mount(found):
            self.add(found.device)

    def _write(self) -> None:
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8", opener=_for_us_alone) as file:
            json.dump({"boot": boot_id(), "devices": sorted(self._devices)}, file)
        os.replace(new, self._path)


def standing(devices: Iterable[str]) -> frozenset[str]:
    """Those that have a mount left somewhere, and one that only root can have made. Raises OSError."""
    connections = fusectl.opened()
    if connections is None:
        return frozenset(devices)
    try:
        return frozenset(device for device in devices if fusectl.owner(connections, device) == os.geteuid())
    finally:
        os.close(connections)


def _not_by_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
