"""A task and its life. Rule: the table below is all that can happen; states only grow, the last ones are
final.

===========  ==========  ===========
state        event       next state
===========  ==========  ===========
starting     started     running
starting     failed      failed
starting     detached    shutdown
running      ended       complete
running      detached    shutdown
===========  ==========  ===========
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from secretfs.core.grant import Grant
from secretfs.core.names import Kind, ObjectId, ServiceId, TaskId
from secretfs.core.plan import Tree
from secretfs.errors import PreconditionError


class TaskState(Enum):
    """Docker's words for the states that a secretfs task passes through."""

    STARTING = "starting"  # its tree is there, its program is not yet
    RUNNING = "running"
    COMPLETE = "complete"  # its last process ended
    SHUTDOWN = "shutdown"  # detached: by hand, or with its service
    FAILED = "failed"  # its program never started


class TaskEvent(Enum):
    """What can happen to a task."""

    STARTED = "started"
    FAILED = "failed"
    ENDED = "ended"
    DETACHED = "detached"


TRANSITIONS: Final[Mapping[tuple[TaskState, TaskEvent], TaskState]] = {
    (TaskState.STARTING, TaskEvent.STARTED): TaskState.RUNNING,
    (TaskState.STARTING, TaskEvent.FAILED): TaskState.FAILED,
    (TaskState.STARTING, TaskEvent.DETACHED): TaskState.SHUTDOWN,
    (TaskState.RUNNING, TaskEvent.ENDED): TaskState.COMPLETE,
    (TaskState.RUNNING, TaskEvent.DETACHED): TaskState.SHUTDOWN,
}


def next_state(state: TaskState, event: TaskEvent) -> TaskState:
    """The state after the event. Raises: PreconditionError, for an event that the table has not there."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise PreconditionError(f"task is {state.value}: it cannot be {event.value}") from None


@dataclass(frozen=True, slots=True)
class Leader:
    """A task's first process, so named that a pid used again, or a reboot, is not mistaken for it."""

    boot_id: str
    pid: int
    start_ticks: int  # /proc/PID/stat field 22: clock ticks after boot
    mnt_ns: int | None = None  # inode number; None until the program has moved its mount


@dataclass(frozen=True, slots=True)
class Seen:
    """A file of the tree, and which version of what it showed."""

    kind: Kind
    target: str
    object_id: ObjectId
    version: int


def seen_in(tree: Tree) -> tuple[Seen, ...]:
    """Every file of it."""
    return tuple(
        Seen(kind, target, entry.content.object_id, entry.content.number) for (kind, target), entry in tree.items()
    )


@dataclass(frozen=True, slots=True)
class Task:
    """Something running that was attached. ``grants`` are its ad-hoc ones only, without its service's."""

    id: TaskId
    service_id: ServiceId | None
    service_name: str  # "" for an ad-hoc task
    grants: tuple[Grant, ...]
    leader: Leader | None
    target_dir: str
    uid: int  # of the peer that attached it
    since_ns: int
    until_leader: bool
    state: TaskState = TaskState.STARTING
    labels: Mapping[str, str] = field(default_factory=dict)  # of the service, when it attached
    told: tuple[Seen, ...] | None = None  # what its program knows of; None: nobody has kept it
    mounted: bool = False  # its tree is in a mount namespace that is not its own, and is taken away at its end
