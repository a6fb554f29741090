"""Secrets and configs: what is known about a value. Rule: the value itself is never a field of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from secretfs.core.names import Kind, ObjectId, ObjectName
from secretfs.errors import InvalidArgumentError, NotFoundError

MAX_SECRET_BYTES: Final = 500 * 1024 - 1  # swarmkit api/validation/secrets.go: refused when >= 500 KiB
MAX_CONFIG_BYTES: Final = 1000 * 1024 - 1  # swarmkit manager/controlapi/config.go: refused when >= 1000 KiB
MAX_BYTES: Final[Mapping[Kind, int]] = {Kind.SECRET: MAX_SECRET_BYTES, Kind.CONFIG: MAX_CONFIG_BYTES}
MAX_VERSIONS: Final = 1000  # of one object: its record names all, and its removal is one commit
DRAIN_MS: Final = 30_000  # when nobody says how long
MAX_DRAIN_MS: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Version:
    """One revision of a value; numbers begin at 1 and are never used twice.

    ``drain_ms``: how long descriptors that were open when it came read what they were opened on.
    """

    number: int
    created_at_ns: int
    size: int  # bytes
    drain_ms: int = DRAIN_MS


@dataclass(frozen=True, slots=True)
class Driver:
    """Docker's Driver and Templating: stored and given back."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret or, by its kind, a config. ``versions`` is in rising order and never empty."""

    kind: Kind
    id: ObjectId
    name: ObjectName
    labels: Mapping[str, str]
    created_at_ns: int
    updated_at_ns: int
    versions: tuple[Version, ...]
    driver: Driver | None = None
    templating: Driver | None = None

    def __post_init__(self) -> None:
        numbers = [version.number for version in self.versions]
        if not numbers or numbers[0] < 1 or any(b <= a for a, b in pairwise(numbers)):
            raise ValueError(f"versions of {self.name} must rise from 1 or more, not be {numbers}")

    @property
    def newest(self) -> Version:
        """The version that a grant without a pin shows."""
        return self.versions[-1]

    def version(self, number: int) -> Version:
        """The version of that number. Raises: NotFoundError."""
        for version in self.versions:
            if version.number == number:
                return version
        raise NotFoundError(f"{self.kind.value} {self.name} has no version {number}")


def check_size(kind: Kind, size: int) -> None:
    """Refuse an empty or too large value. Raises: InvalidArgumentError, with Docker's text."""
    if not 0 < size <= MAX_BYTES[kind]:
        limit = MAX_BYTES[kind] + 1
        raise InvalidArgumentError(f"{kind.value} data must be larger than 0 and less than {limit} bytes")
