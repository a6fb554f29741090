"""What was looked at. Rule: plain values; None is "it could not be looked at", never "it is not there"."""

from dataclasses import dataclass
from enum import Enum

from secretfs.link.spawn import SupervisorStart


class Step(Enum):
    """How far the trial of FUSE came: the step that failed, or DONE."""

    NAMESPACE = "namespace"
    DEVICE = "device"
    MOUNT = "mount"
    INIT = "init"
    RESEND = "resend"
    DONE = "done"
    SILENT = "silent"  # no answer within the deadline


class Answer(Enum):
    """Of the process that serves a mount."""

    LIVES = "lives"
    OVER = "over"  # its connection has ended
    SILENT = "silent"  # no answer within the deadline
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Trial:
    """Of a FUSE mount in a mount namespace of its own; ``error`` is the errno of the step that failed, 0 if none is."""

    step: Step
    error: int


@dataclass(frozen=True, slots=True)
class Device:
    """/dev/fuse; ``error``: the errno of opening it, 0 if it can be."""

    error: int
    mode: int | None  # None when it does not exist


@dataclass(frozen=True, slots=True)
class Kernel:
    """What Linux can do here. ``namespace_error``: the errno of a user namespace for an ordinary user, 0 if allowed."""

    release: str
    fuse_known: bool  # in /proc/filesystems: built in, or the module is loaded
    device: Device
    trial: Trial
    peer_pidfd_error: int
    landlock_abi: int
    seccomp: bool  # fs and control can have their filters
    namespace_error: int | None
    max_user_namespaces: int | None
    unprivileged_clone: int | None  # Debian's sysctl; None where there is none
    apparmor_restricts: int | None  # Ubuntu's


@dataclass(frozen=True, slots=True)
class Swap:
    """A line of /proc/swaps."""

    name: str
    compressed: bool  # zram
    encrypted: bool  # dm-crypt


@dataclass(frozen=True, slots=True)
class Host:
    """How this host is set up."""

    uid: int
    can_lock: bool  # CAP_IPC_LOCK
    memlock_bytes: int | None  # RLIMIT_MEMLOCK, None: no limit
    swaps: tuple[Swap, ...] | None
    init_on_free: bool | None
    suid_dumpable: int | None
    core_pattern: str | None
    ptrace_scope: int | None  # None: no Yama
    root_shared: bool | None
    hidepid: str  # of /proc: "0" or "off" is none
    hidepid_gid: bool
    now: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class User:
    """Who a child process of the daemon runs as. ``taken_by``: another user of that number."""

    role: str  # fs, control
    uid: int
    taken_by: str | None


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine. ``version``: what its program says of itself; None when it is not installed."""

    name: str
    version: str | None
    socket: str
    listening: bool


@dataclass(frozen=True, slots=True)
class MountState:
    """A file system of secretfs, by its device number. ``place`` is one of the places where it is mounted."""

    device: str
    place: str
    pid: int  # a process that has it there
    answer: Answer
    ours: bool | None  # made by the daemon of this runtime directory: what it calls itself says nothing about that


@dataclass(frozen=True, slots=True)
class Process:
    """One of secretfs. ``kept``: it is a child of a living supervisor, or was adopted by one."""

    pid: int
    module: str  # supervisor, fs, control
    kept: bool | None


@dataclass(frozen=True, slots=True)
class Socket:
    """One of the daemon's; ``mode`` None when there is no such file."""

    name: str
    listening: bool
    mode: int | None
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Directory:
    """``mode`` None: it is not there; ``free_bytes`` of its disk."""

    path: str
    mode: int | None
    uid: int = 0
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Mountpoint:
    """Where the daemon mounts. ``entries``: in the directory, when nothing is mounted on it."""

    path: str
    mounted: bool
    entries: int | None


@dataclass(frozen=True, slots=True)
class Store:
    """The database; sizes in bytes, None when it is not there."""

    size: int | None
    reserve: int | None
    modified: float = 0.0  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Key:
    """The root key's file; ``mode`` None: it is not there; ``source`` without a file is not looked at."""

    source: str
    path: str | None
    mode: int | None = None
    uid: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Arena:
    """The arena of a daemon that runs. ``loose_bytes`` hold values, and are in memory that is not locked."""

    locked_bytes: int
    loose_bytes: int
    swapped_bytes: int
    may_lock_bytes: int | None  # of the supervisor; None: without a limit
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Running:
    """The daemon, when one holds the runtime directory's lock."""

    pid: int
    start: SupervisorStart | None
    older_than_files: bool  # it was started before the installed files were written
    arena: Arena | None


@dataclass(frozen=True, slots=True)
class Said:
    """What the daemon's API said, or why it did not."""

    version: str | None = None
    locked: bool = False
    silence: str = ""
    closed: bool = False  # it is closed to this user


@dataclass(frozen=True, slots=True)
class Daemon:
    """All that belongs to one daemon's directories."""

    running: Running | None
    said: Said
    installed: str
    processes: tuple[Process, ...]
    sockets: tuple[Socket, ...] | None
    api_members: tuple[str, ...] | None  # of the group secretfs; None: there is no such group
    api_gid: int
    runtime: Directory
    mountpoint: Mountpoint
    state: Directory | None
    store: Store | None
    key: Key | None

    @property
    def rootless(self) -> bool:
        """Whether one runs in a user namespace."""
        return bool(self.running and self.running.start and self.running.start.home_mnt)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything."""

    kernel: Kernel
    host: Host
    users: tuple[User, ...]
    engines: tuple[Engine, ...]
    mounts: tuple[MountState, ...]
    unseen_namespaces: int  # processes whose mounts could not be looked at
    daemon: Daemon
