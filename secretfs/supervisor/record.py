"""What a daemon notes in its runtime directory for the next one: which store it serves and where it is mounted, and the
devices of the FUSE connections that it has made in this boot. Root's alone.

With another store the next one would find no task that lives in its own, and flush them all. So it is refused, while
anything is left that serves.

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
from dataclasses import asdict, dataclass
from functools import cache
from typing import Final, Self

from secretfs.errors import SetupError
from secretfs.linux import fusectl, mountinfo
from secretfs.linux.process import boot_id
from secretfs.supervisor import log
from secretfs.supervisor.mountpoint import secretfs_mount

RECORD: Final = "daemon.record"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a daemon is at home. ``state``: device and inode of the state directory, which may have several names."""

    state_dir: str
    mountpoint: str
    state: tuple[int, int]

    @classmethod
    def of(cls, state_dir: str, mountpoint: str) -> "Places":
        """As they are now. Raises OSError when there is no such state directory."""
        found = os.stat(state_dir)
        return cls(state_dir, mountpoint, (found.st_dev, found.st_ino))


class Record:
    """The note, and its file."""

    def __init__(self, directory: str, devices: Iterable[str] = (), places: Places | None = None) -> None:
        self._path = os.path.join(directory, RECORD)
        self._devices = frozenset(devices)
        self._places = places

    @classmethod
    def found(cls, directory: str) -> Self:
        """That of this boot; an empty one where there is none."""
        try:
            with open(os.path.join(directory, RECORD), encoding="utf-8", opener=_not_by_link) as file:
                noted = json.load(file)
            if noted["boot"] == boot_id():
                return cls(directory, map(str, noted["devices"]), _places_of(noted.get("places")))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError) as broken:
            log.warning("what the last daemon has noted cannot be read", error=str(broken))
        return cls(directory)

    def devices(self) -> frozenset[str]:
        """Ours, those of which mounts are left somewhere. Raises OSError when that cannot be asked."""
        return standing(self._devices)

    def check(self, state_dir: str, mountpoint: str, *, who: str) -> None:
        """Raises SetupError when ``who``, that lives, has its store or its mount elsewhere.

        Only a note of what is mounted now says something about it.
        """
        places = self._places
        living = _device_at(places.mountpoint) if places else ""
        if places is None or living not in self._devices:
            return
        if state_dir != places.state_dir and not _is(state_dir, places.state):
            raise SetupError(
                f"{who} serves the store in {places.state_dir!r}, not in {state_dir!r}: start with --state-dir "
                f"{places.state_dir}, or stop it first"
            )
        if _device_at(mountpoint) != living:
            raise SetupError(
                f"{who} is mounted on {places.mountpoint!r}, not on {mountpoint!r}: start with --mountpoint "
                f"{places.mountpoint}, or stop it first"
            )

    def serve(self, state_dir: str, mountpoint: str) -> None:
        """Note it; written with the next device. Raises OSError."""
        self._places = Places.of(state_dir, mountpoint)

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
        if device := _device_at(mountpoint):
            self.add(device)

    def _write(self) -> None:
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8", opener=_for_us_alone) as file:
            places = asdict(self._places) if self._places else None
            json.dump({"boot": boot_id(), "devices": sorted(self._devices), "places": places}, file)
        os.replace(new, self._path)


def standing(devices: Iterable[str]) -> frozenset[str]:
    """Those that have a mount left somewhere, and one that only root can have made. Raises OSError.

    Who goes into other mount namespaces asks once before: where fusectl is found by its path, it is ours that counts.
    """
    connections = _connections()
    if connections is None:
        return frozenset(devices)
    return frozenset(device for device in devices if fusectl.owner(connections, device) == os.geteuid())


@cache
def _connections() -> int | None:
    """Kept open to the end: the kernel takes milliseconds to end a mount."""
    return fusectl.opened()


def _device_at(mountpoint: str) -> str:
    """Of the secretfs that is mounted there, or an empty text."""
    try:
        found = mountinfo.mount_at(mountpoint)
    except OSError:  # no such directory
        return ""
    return found.device if found and secretfs_mount(found) else ""


def _is(directory: str, identity: tuple[int, int]) -> bool:
    try:
        found = os.stat(directory)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == identity


def _places_of(noted: dict[str, object] | None) -> Places | None:
    match noted:
        case {"state_dir": str(state_dir), "mountpoint": str(mountpoint), "state": [int(device), int(inode)]}:
            return Places(state_dir, mountpoint, (device, inode))
        case _:
            return None


def _not_by_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
