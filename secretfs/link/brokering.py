"""What control asks of the supervisor, as it needs root, and the answers. Rule: a question has a number, and its answer
the same.

============  =======================================================================================================
to control    Identity, TreeFd (+ fd), Namespaces, Members (+ pidfds), Repaired, MountsDropped, Acted
from control  AskTreeFd, AskNamespaces (+ pidfd), AskMembers, AskRepair, AskDropMounts, AskSignal (+ pidfd),
              AskCommand (+ pidfd), AskTouch
============  =======================================================================================================
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_FDS: Final = 200  # below SCM_MAX_FD, 253 (linux/net/scm.h)


@dataclass(frozen=True, slots=True)
class Identity:
    """Inode numbers of the daemon's own user, pid and mount namespace."""

    user: int
    pid: int
    mnt: int


@dataclass(frozen=True, slots=True)
class AskTreeFd:
    """A detached mount of ``<mountpoint>/<task>/<kind>s`` is wanted; kind 0 secrets, 1 configs."""

    ask: int
    kind: int
    task: str


@dataclass(frozen=True, slots=True)
class TreeFd:
    """Answer to AskTreeFd; with error 0 the descriptor travels with it."""

    ask: int
    error: int


@dataclass(frozen=True, slots=True)
class AskNamespaces:
    """The namespaces of the process whose pidfd travels with it are wanted."""

    ask: int


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Answer to AskNamespaces: inode numbers; ``error`` is an errno or 0."""

    ask: int
    error: int
    user: int
    pid: int
    mnt: int


@dataclass(frozen=True, slots=True)
class AskMembers:
    """Pidfds of all processes of ``task`` are wanted; ``mnt`` is the mount namespace that was recorded for it."""

    ask: int
    mnt: int
    task: str


@dataclass(frozen=True, slots=True)
class Members:
    """Answer to AskMembers: up to MAX_FDS pidfds travel with each; the last one has ``more`` 0."""

    ask: int
    more: int


@dataclass(frozen=True, slots=True)
class AskRepair:
    """Every mount of a tree whose connection has ended is to be replaced, in all mount namespaces."""

    ask: int


@dataclass(frozen=True, slots=True)
class Repaired:
    """Answer to AskRepair: how many mounts were replaced, and how many could not be."""

    ask: int
    replaced: int
    failed: int


@dataclass(frozen=True, slots=True)
class AskDropMounts:
    """Every mount of the tree of ``task``, which has ended, is to be taken away, in all mount namespaces."""

    ask: int
    task: str


@dataclass(frozen=True, slots=True)
class MountsDropped:
    """Answer to AskDropMounts: how many mounts are gone, and how many could not be taken away."""

    ask: int
    gone: int
    left: int


@dataclass(frozen=True, slots=True)
class AskSignal:
    """The process whose pidfd travels with it, which must be one of ``task``, is to get the signal; ``mnt`` as in
    AskMembers.
    """

    ask: int
    signal: int
    mnt: int
    task: str


@dataclass(frozen=True, slots=True)
class AskCommand:
    """A command is to be run as the process whose pidfd travels with it, which must be one of ``task``, would run it.

    ``words``: the service's name, the targets that changed (a line each), and the command, with a NUL between them.
    """

    ask: int
    mnt: int
    task: str
    words: str


@dataclass(frozen=True, slots=True)
class AskTouch:
    """Whoever watches a file of the task's tree, or with no target the directory, is to be told; kind as in
    AskTreeFd.
    """

    ask: int
    kind: int
    task: str
    target: str


@dataclass(frozen=True, slots=True)
class Acted:
    """Answer to AskSignal, AskCommand and AskTouch: an errno or 0; ``code``: the command's exit code, 128 + N for a
    signal.
    """

    ask: int
    error: int
    code: int


Frame: TypeAlias = (
    Identity | AskTreeFd | TreeFd | AskNamespaces | Namespaces | AskMembers | Members
    | AskRepair | Repaired | AskDropMounts | MountsDropped | AskSignal | AskCommand
    | AskTouch | Acted
)  # fmt: skip
