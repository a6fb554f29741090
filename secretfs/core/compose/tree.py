"""What a file says, and where it says it. Rule: a scalar stays the text that was written.

``0440`` is no number before somebody needs a mode of it, and an owner ``0103`` is not 67: what a text means depends on
where it stands, and YAML's guess would lose the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, as it is told to people; lines begin at 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text. ``plain``: it was not quoted, so it may stand for nothing, or for something else than text."""

    place: Place
    text: str
    plain: bool = True

    @property
    def null(self) -> bool:
        """Whether it stands for nothing."""
        return self.plain and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Map:
    """Keys with what they have, in the order of the file; ``keys`` has the place of each."""

    place: Place
    items: Mapping[str, "Node"]
    keys: Mapping[str, Place]


@dataclass(frozen=True, slots=True)
class List:
    """One after the other."""

    place: Place
    items: tuple["Node", ...]


Node = Scalar | Map | List
