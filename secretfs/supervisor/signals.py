"""Signals across an exec. Rule: from the decision to become another program to the handlers of that program none is
lost, so no thread may take one: what is pending for a process outlives exec, what another thread has taken does not.
"""

import signal
from typing import Final

_HELD_BACK: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


def hold_back() -> None:
    """In this thread they wait; in every thread but the main one for ever. Children inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)


def release() -> None:
    """The handlers are there: what was held back may come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
