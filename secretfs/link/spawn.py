"""What the supervisor tells a process that it starts: descriptors by number and plain words, as arguments. Pure.

The descriptors are inherited. No secret and no key is among the arguments: they can be read by everybody.
"""

from dataclasses import MISSING, astuple, dataclass, fields
from typing import Final, Self

from secretfs.errors import LinkError

AUDIT_BYTES: Final = 64 << 20  # what is kept of the audit, unless told otherwise
AUDIT_SECONDS: Final = 90 * 86_400


class _Arguments:
    """A frozen dataclass of int and str fields, as a list of words and back."""

    def words(self) -> list[str]:
        """The arguments, in the order of the fields."""
        return [str(value) for value in astuple(self)]  # type: ignore[call-overload]

    @classmethod
    def parse(cls, words: list[str]) -> Self:
        """The arguments of ``words``. Words of an older secretfs lack the newest fields: those have defaults.

        Raises LinkError for any other number of them, or a word that is no number.
        """
        wanted = fields(cls)  # type: ignore[arg-type]
        least = sum(field.default is MISSING for field in wanted)
        if not least <= len(words) <= len(wanted):
            raise LinkError(f"{cls.__name__} cannot be read from {len(words)} arguments")
        try:
            kinds = [field.type for field in wanted]
            return cls(*[int(word) if kind is int else word for kind, word in zip(kinds, words, strict=False)])
        except ValueError as exc:
            raise LinkError(f"{cls.__name__} cannot be read from {len(words)} arguments: {exc}") from exc


@dataclass(frozen=True, slots=True)
class FsStart(_Arguments):
    """For fs. ``usable_bytes``: how much of the arena is locked; ``init``: the recorded INIT in hexadecimal;
    ``ring_fd``: the ring of opens (link/ring.py), -1 where an older supervisor has none.

    The listening sockets are for the next supervisor only. A standby (1) loads everything and serves when it is told.
    """

    supervisor_fd: int
    fuse_fd: int
    arena_fd: int
    api_fd: int
    attach_fd: int
    handover_fd: int
    arena_bytes: int
    usable_bytes: int
    device: str
    uid: int
    gid: int
    spin_us: int
    standby: int
    init: str
    ring_fd: int = -1
    ring_event_fd: int = -1


@dataclass(frozen=True, slots=True)
class ControlStart(_Arguments):
    """For control. ``services_fd``: the directory of the services' sockets; ``api_gid``: whose the API's socket is;
    ``audit_bytes``, ``audit_seconds``: how much of the audit is kept.
    """

    supervisor_fd: int
    api_fd: int
    attach_fd: int
    uid: int
    gid: int
    state_dir: str
    root_key: str
    services_fd: int = -1
    api_gid: int = 0  # no group, root alone
    ring_fd: int = -1
    ring_event_fd: int = -1
    audit_bytes: int = AUDIT_BYTES
    audit_seconds: int = AUDIT_SECONDS


@dataclass(frozen=True, slots=True)
class SupervisorStart(_Arguments):
    """For the supervisor: what ``secretfs daemon`` was told, checked. An older one's words must do: see ``parse``.

    ``home_mnt``: the inode number of the mount namespace whose processes may attach; 0: the daemon's own.
    """

    state_dir: str
    runtime_dir: str
    mountpoint: str
    root_key: str
    arena_bytes: int
    spin_us: int
    takeover: int = 0
    home_mnt: int = 0
    audit_bytes: int = AUDIT_BYTES
    audit_seconds: int = AUDIT_SECONDS
