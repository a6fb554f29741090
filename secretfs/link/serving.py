"""What the supervisor and fs say to each other: of the arena, and of who serves when.

====================  ======================================================================================
to fs                 Grown; to a standby Go (+ pidfd of the one before, or none)
from fs               Grow; from a standby Loaded
to a next supervisor  Handover (+ socket, device, arena, listeners of API, attach and handover, ring of opens,
                      eventfd)
====================  ======================================================================================
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Loaded:
    """A standby has everything in memory that it will ever need."""


@dataclass(frozen=True, slots=True)
class Go:
    """Serve. With the pidfd of a predecessor: when that one is dead, or Go comes again, without one."""

    usable: int


@dataclass(frozen=True, slots=True)
class Grow:
    """Make the arena's first ``size`` bytes usable and lock them."""

    size: int


@dataclass(frozen=True, slots=True)
class Grown:
    """Answer to Grow: the bytes usable and locked now; ``error`` is an errno or 0."""

    size: int
    error: int


@dataclass(frozen=True, slots=True)
class Handover:
    """What fs gives to a supervisor that takes the place of one that is gone; six descriptors travel with it, or eight.

    ``usable``: bytes of the arena that may hold plaintext, to be locked again. ``parts``: the mount's device number and
    the recorded INIT, both as text, with a blank between them.
    """

    arena_bytes: int
    usable: int
    parts: str


Frame: TypeAlias = Loaded | Go | Grow | Grown | Handover
