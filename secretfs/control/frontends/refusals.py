"""Refused tasks, in the log and in the audit. Rule: whoever is refused a thousand times fills neither.

A bucket for each uid and one for all: what does not fit is counted, and the count goes with the next that does. (A
user may have 65,536 subordinate uids.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from secretfs.control import log
from secretfs.control.audit import Caller
from secretfs.errors import SecretfsError

BURST: Final = 20.0  # of one uid at once
REFILL_SECONDS: Final = 30.0  # then one more
BURST_OF_ALL: Final = 200.0
REFILL_SECONDS_OF_ALL: Final = 3.0
MAX_UIDS: Final = 1000  # remembered; all have room again when there are more: the bucket of all has not


class Keeper(Protocol):
    """What is needed of control/usecases/tasks.py."""

    async def refused(self, caller: Caller, service: str, reason: str, *, more: int = 0) -> None:
        """Keep it in the audit. Raises: StoreError."""


@dataclass(slots=True)
class Bucket:
    """``burst`` at once, then one in ``refill_seconds``."""

    burst: float
    refill_seconds: float
    level: float
    at: float

    def refill(self, now: float) -> bool:
        """Whether there is room for one."""
        self.level = min(self.burst, self.level + (now - self.at) / self.refill_seconds)
        self.at = now
        return self.level >= 1.0


class Refusals:
    """All that is refused to peers of the attach sockets."""

    def __init__(self, keeper: Keeper, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._keeper = keeper
        self._clock = clock
        self._all = Bucket(BURST_OF_ALL, REFILL_SECONDS_OF_ALL, BURST_OF_ALL, clock())
        self._of_uid: dict[int, Bucket] = {}
        self._more = 0

    def room(self, caller: Caller) -> bool:
        """Take room for one; where there is none, it is counted."""
        now = self._clock()
        if caller.uid not in self._of_uid and len(self._of_uid) >= MAX_UIDS:
            self._of_uid.clear()
        own = self._of_uid.setdefault(caller.uid, Bucket(BURST, REFILL_SECONDS, BURST, now))
        if not (own.refill(now) and self._all.refill(now)):
            self._more += 1
            return False
        own.level -= 1
        self._all.level -= 1
        return True

    async def keep(self, caller: Caller, service: str, reason: str) -> None:
        """In the log and in the audit, once there was room."""
        more, self._more = self._more, 0
        log.warning("task refused", uid=caller.uid, pid=caller.pid, service=service, error=reason, more=more)
        try:
            await self._keeper.refused(caller, service, reason, more=more)
        except SecretfsError as exc:
            log.error("the audit lacks a refusal", uid=caller.uid, error=str(exc))
