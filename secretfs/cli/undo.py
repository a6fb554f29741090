"""Taking back. Rule: when one of several acts fails, or is interrupted, those before are undone, the last first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secretfs.cli import output
from secretfs.errors import SecretfsError


class Undo:
    """What takes back each act that was done so far."""

    def __init__(self) -> None:
        self._acts: list[tuple[str, Callable[[], object]]] = []

    def add(self, what: str, act: Callable[[], object]) -> None:
        """The act that takes back what was just done; ``what`` says that, after "taken back: "."""
        self._acts.append((what, act))

    def run(self) -> None:
        """Take everything back; what cannot be is said, and the rest goes on."""
        while self._acts:
            what, act = self._acts.pop()
            try:
                act()
            except SecretfsError as exc:
                output.error(f"cannot take back: {what}: {exc}")
            else:
                output.note(f"taken back: {what}")


@contextmanager
def undone() -> Iterator[Undo]:
    """What the block does, whole or not at all."""
    undo = Undo()
    try:
        yield undo
    except BaseException:
        undo.run()
        raise
