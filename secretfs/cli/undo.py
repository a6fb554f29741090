"""Taking back. Rule: when one of several acts fails, or is interrupted, those before are undone, the last first.

An act that was refused was not done. One that nobody heard the end of (Ctrl-C, SIGTERM, a daemon that went away) may
have been done, and is taken back too; so what takes back must do for both.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secretfs.cli import output
from secretfs.errors import LockedError, NotFoundError, SecretfsError, UnavailableError

PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Undo:
    """What takes back each act that was done so far."""

    def __init__(self) -> None:
        self._acts: list[tuple[str, Callable[[], object]]] = []

    @contextmanager
    def act(self, what: str, take_back: Callable[[], object]) -> Iterator[None]:
        """The block is an act, and how it is taken back; ``what`` says that, after "taken back: "."""
        self._acts.append((what, take_back))
        try:
            yield
        except UnavailableError:
            raise
        except SecretfsError:
            self._acts.pop()
            raise

    def forget(self) -> None:
        """The last act changed nothing."""
        self._acts.pop()

    def run(self) -> None:
        """Take everything back; what cannot be is said, and the rest goes on."""
        while self._acts:
            what, take_back = self._acts.pop()
            try:
                _patiently(take_back)
            except NotFoundError:
                continue  # it was never made
            except SecretfsError as exc:
                output.error(f"cannot take back: {what}: {exc}")
            else:
                output.note(f"taken back: {what}")


def _patiently(take_back: Callable[[], object]) -> None:
    """A daemon that died is back in a second, and what it did not answer is the very reason to be here."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            take_back()
            return
        except LockedError:
            raise
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


@contextmanager
def undone() -> Iterator[Undo]:
    """What the block does, whole or not at all; signals that would end the program are exceptions in it."""
    undo = Undo()
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        yield undo
    except BaseException:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        undo.run()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
