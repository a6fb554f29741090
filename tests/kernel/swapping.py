"""``swapping.py repair|drop PLACE OTHER ARGUMENT...``: the helper of that name, and a user who is as quick as can be.

Whenever a path has been checked, the directory PLACE is somebody else's; whenever one is checked next, it is back.
"""

import contextlib
import os
import sys

from secretfs.supervisor import drop, repair
from secretfs.supervisor.visits import Visits

HELPERS = {"repair": repair, "drop": drop}
name, place, other = sys.argv[1:4]
sys.argv[1:] = sys.argv[4:]


def swap() -> None:
    os.rename(place, f"{place} aside")
    os.rename(other, place)
    os.rename(f"{place} aside", other)


class Swapping(Visits):
    """The swap is what a user can do from a second process, between any two calls of the kernel."""

    @contextlib.contextmanager
    def topmost(self, mount):
        with super().topmost(mount) as fd:
            swap()
            try:
                yield fd
            finally:
                swap()


HELPERS[name].Visits = Swapping
sys.exit(HELPERS[name].main())
