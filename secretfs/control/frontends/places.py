"""How many peers are served at once. Rule: no user can take the places of another, and nobody those of root.

Root waits for a place, in the backlog: three hundred tasks may start at once. All others are told to come again.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Final

import trio

from secretfs.errors import UnavailableError

MAX_OF_ROOT: Final = 256
MAX_OF_ONE: Final = 32  # uid but root's, or service's own socket
MAX_OF_OTHERS: Final = 256  # all of these together: a user may have 65,536 subordinate uids
ROOT: Final = "root"


class Places:
    """Places by who takes them: ROOT, or whatever tells one from another."""

    def __init__(self) -> None:
        self._root = trio.Semaphore(MAX_OF_ROOT)
        self._taken: Counter[Hashable] = Counter()

    async def take(self, who: Hashable, name: str) -> None:
        """Take one; name is for the refusal. Raises: UnavailableError."""
        if who == ROOT:
            await self._root.acquire()
            return
        if self._taken[who] >= MAX_OF_ONE:
            raise UnavailableError(f"{name} has {MAX_OF_ONE} connections at once, which is the most: try again")
        if self._taken.total() >= MAX_OF_OTHERS:
            raise UnavailableError(f"{MAX_OF_OTHERS} connections of others are open, which is the most: try again")
        self._taken[who] += 1

    def give_back(self, who: Hashable) -> None:
        """It is free for another."""
        if who == ROOT:
            self._root.release()
            return
        self._taken[who] -= 1
        if not self._taken[who]:
            del self._taken[who]
