"""What a compose file is about, as far as secretfs is concerned. Rule: whatever else it says is kept as it was."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from secretfs.core.compose.tree import Node, Place
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind


@dataclass(frozen=True, slots=True)
class FileSource:
    """The value is what a file holds; the path is absolute."""

    path: str


@dataclass(frozen=True, slots=True)
class VariableSource:
    """The value is what an environment variable holds."""

    name: str


@dataclass(frozen=True, slots=True)
class TextSource:
    """The value stands in the compose file."""

    text: str = field(repr=False)


Source = FileSource | VariableSource | TextSource


@dataclass(frozen=True, slots=True)
class Definition:
    """A secret or config of the file, by its key there. External: it is there already, and no part of the stack."""

    kind: Kind
    key: str
    place: Place
    source: Source | None = None
    external: bool | None = None
    name: str = ""  # empty: made from the key
    labels: Mapping[str, str] = field(default_factory=dict)
    driver: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    template_driver: str = ""
    extras: Mapping[str, Node] = field(default_factory=dict)  # x-…


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A service of the file. The sources of its grants are keys of definitions; ``fields`` is all else."""

    key: str
    place: Place
    grants: Mapping[Kind, tuple[GrantRequest, ...]]
    fields: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """A file, or several as one. ``fields`` is what there is beside services, secrets and configs."""

    services: Mapping[str, ServiceEntry]
    definitions: Mapping[Kind, Mapping[str, Definition]]
    fields: Mapping[str, Node]
