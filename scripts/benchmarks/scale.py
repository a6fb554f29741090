"""How much of everything is measured."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """Rounds are turns in which each of the compared is measured once."""

    file_rounds: int  # on one processor
    across_rounds: int  # with client and daemon on different ones
    file_seconds: float  # for one operation on one file system
    start_rounds: int  # of programs that are started
    live_rounds: int  # of changes that are seen
    swarm_rounds: int  # the same in Docker Swarm, which replaces containers
    sizes: tuple[int, ...]  # how many secrets there are when listing and inspecting are timed
    task_counts: tuple[int, ...]  # how many tasks there are when memory is read


FULL: Final = Scale(
    file_rounds=9,
    across_rounds=3,
    file_seconds=0.08,
    start_rounds=21,
    live_rounds=31,
    swarm_rounds=5,
    sizes=(10, 100, 1_000, 10_000),
    task_counts=(10, 100, 1_000),
)
QUICK: Final = Scale(
    file_rounds=3,
    across_rounds=1,
    file_seconds=0.05,
    start_rounds=5,
    live_rounds=11,
    swarm_rounds=2,
    sizes=(10, 100, 1_000),
    task_counts=(10, 100),
)
