"""Tasks outlive the mount that they were given. Rule: whenever an fs knows every tree, dead mounts are looked for.

The connection may be another one than before: everything was killed, or somebody has aborted it. Looking costs some
milliseconds and finds nothing when it is the same.
"""

from collections.abc import Awaitable
from typing import Final, Protocol

import trio

from secretfs.control import log
from secretfs.errors import UnavailableError

RETRY_SECONDS: Final = 0.5
ATTEMPTS: Final = 5  # a mount that cannot be replaced is not going to be


class Repairer(Protocol):
    """The supervisor."""

    def repair(self) -> Awaitable[int]:
        """Replace dead mounts; how many are dead still. Raises UnavailableError."""


class Repairs:
    """Repairs, one at a time."""

    def __init__(self, broker: Repairer) -> None:
        self._broker = broker
        self._due = trio.Event()

    def due(self) -> None:
        """An fs knows every tree."""
        self._due.set()

    async def run(self) -> None:
        """Carry out what is due, for ever."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            for _ in range(ATTEMPTS):
                if not await self._dead_still():
                    break
                await trio.sleep(RETRY_SECONDS)

    async def _dead_still(self) -> int:
        try:
            return await self._broker.repair()
        except UnavailableError as exc:
            log.error("tasks may have no tree", error=str(exc))
            return 1
