"""What the supervisor tells a process that it starts: descriptors by number and plain words, as arguments. Pure.

The descriptors are inherited. No secret and no key is among the arguments: they can be read by everybody.
"""

from dataclasses import astuple, dataclass, fields
from typing import Self

from secretfs.errors import LinkError


class _Arguments:
    """A frozen dataclass of int and str fields, as a list of words and back."""

    def words(self) -> list[str]:
        """The arguments, in the order of the fields."""
        return [str(value) for value in astuple(self)]  # type: ignore[call-overload]

    @classmethod
    def parse(cls, words: list[str]) -> Self:
        """The arguments of ``words``. Raises LinkError for any other number of them, or a word that is no number."""
        kinds = [field.type for field in fields(cls)]  # type: ignore[arg-type]
        try:
            return cls(*[int(word) if kind is int else word for kind, word in zip(kinds, words, strict=True)])
        except ValueError as exc:
            raise LinkError(f"{cls.__name__} cannot be read from {len(words)} arguments: {exc}") from exc


@dataclass(frozen=True, slots=True)
class FsStart(_Arguments):
    """For fs. ``usable_bytes``: how much of the arena is locked; ``init_fd``: a pipe with the recorded INIT."""

    supervisor_fd: int
    fuse_fd: int
    init_fd: int
    arena_fd: int
    arena_bytes: int
    usable_bytes: int
    uid: int
    gid: int
    spin_us: int


@dataclass(frozen=True, slots=True)
class ControlStart(_Arguments):
    """For control."""

    supervisor_fd: int
    api_fd: int
    attach_fd: int
    uid: int
    gid: int
    state_dir: str
    root_key: str


@dataclass(frozen=True, slots=True)
class SupervisorStart(_Arguments):
    """For the supervisor: what ``secretfs daemon`` was told, checked."""

    state_dir: str
    runtime_dir: str
    mountpoint: str
    root_key: str
    arena_bytes: int
    spin_us: int
