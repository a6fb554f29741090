"""What control needs of the other two processes: the fs process behind a link, the supervisor behind a
broker.

Two implementations each: over the sockets, and the ones of the tests that keep trees in a dict.
"""

from dataclasses import dataclass, field
from typing import Protocol

from secretfs.core.names import Kind, TaskId
from secretfs.core.plan import Tree


@dataclass(frozen=True, slots=True)
class Sealed:
    """A version of a value on its way to fs. Who is done with the data key wipes it."""

    data_key: bytearray = field(repr=False)
    ciphertext: bytes = field(repr=False)
    context: bytes


class FileSystem(Protocol):
    """The fs process."""

    async def put_tree(self, task: TaskId, tree: Tree) -> None:
        """Make this the task's tree; returns when fs has flushed, replaced and exposed.

        Raises: ArenaFullError, UnsealError, UnavailableError.
        """

    async def drop_tree(self, task: TaskId) -> None:
        """Take the tree away, if there is one; returns when it is flushed and wiped. Raises:
        UnavailableError.
        """


class Mounts(Protocol):
    """Mounts of trees that are not in a task's own mount namespace."""

    async def drop_mounts(self, task: TaskId) -> int:
        """Take every mount of the tree of a task that has ended away; how many could not be. Raises:
        UnavailableError.
        """


class Telling(Protocol):
    """What tells a task of a change. All raise: NotFoundError, when nobody is there to be told; UnavailableError."""

    async def signal(self, task: TaskId, mnt_ns: int, pidfd: int, number: int) -> None:
        """Send a signal to a process of the task."""

    async def command(self, task: TaskId, mnt_ns: int, pidfd: int, words: tuple[str, str, str]) -> int:
        """Run a command as that process would; its exit code. ``words``: service, targets, command."""

    async def touch(self, task: TaskId, kind: Kind, target: str) -> None:
        """Have the kernel tell who watches a file of the task, or with no target its directory."""


class Processes(Protocol):
    """What root can see of processes."""

    async def members(self, task: TaskId, mnt_ns: int) -> list[int]:
        """Pidfds of all processes that have the task's tree mounted, or are in the mount namespace that was
        recorded for it and cannot tell; the caller closes them. Raises: UnavailableError.
        """
