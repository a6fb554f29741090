"""What the supervisor and either of its children say to each other: that they live, and that they should end.

============  =======================================
to a child    Ping, Wire (+ socket, mailbox), Stop
from a child  Pong, Ready; from control Stopped as well
============  =======================================
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? ``beat`` comes back in the Pong."""

    beat: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The event loop turns: the answer to Ping."""

    beat: int


@dataclass(frozen=True, slots=True)
class Ready:
    """fs answers the kernel; control answers its sockets."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A fresh socket between control and fs, with a fresh mailbox: two descriptors travel with it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End in good order."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """control has flushed every tree it could and ends."""


Frame: TypeAlias = Ping | Pong | Ready | Wire | Stop | Stopped
