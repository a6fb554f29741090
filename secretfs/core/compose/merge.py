"""Several files as one. Rule: the Compose Specification's (13-merge.md): what a later file says wins, what it does not
say stays.

Of a service's grants, those of the same source take the place of the earlier ones, as with docker; docker's own merge
also drops all but one of the targets that one source has.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Final

from secretfs.core.compose.model import ComposeFile, Definition, ServiceEntry
from secretfs.core.compose.tree import List, Map, Node
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind

_REPLACED: Final = frozenset({"command", "entrypoint"})  # lists that are one thing


def merged(files: list[ComposeFile]) -> ComposeFile:
    """The files as one; there is one at least."""
    return reduce(_two, files)


def _two(base: ComposeFile, over: ComposeFile) -> ComposeFile:
    services = dict(base.services)
    for key, service in over.services.items():
        services[key] = _service(services[key], service) if key in services else service
    definitions = {kind: _definitions(base.definitions[kind], over.definitions[kind]) for kind in Kind}
    return ComposeFile(services, definitions, _fields(base.fields, over.fields))


def _service(base: ServiceEntry, over: ServiceEntry) -> ServiceEntry:
    grants = {kind: _grants(base.grants[kind], over.grants[kind]) for kind in Kind}
    return ServiceEntry(base.key, over.place, grants, _fields(base.fields, over.fields))


def _grants(base: tuple[GrantRequest, ...], over: tuple[GrantRequest, ...]) -> tuple[GrantRequest, ...]:
    again = {request.source for request in over}
    return (*(request for request in base if request.source not in again), *over)


def _definitions(base: Mapping[str, Definition], over: Mapping[str, Definition]) -> dict[str, Definition]:
    found = dict(base)
    for key, definition in over.items():
        found[key] = _definition(found[key], definition) if key in found else definition
    return found


def _definition(base: Definition, over: Definition) -> Definition:
    """Where the value comes from is one thing, of which the later file says all or nothing."""
    whence = over if over.source or over.driver or over.external is not None else base
    return replace(
        over,
        source=whence.source,
        external=whence.external,
        driver=whence.driver,
        driver_options=whence.driver_options,
        name=over.name or base.name,
        labels={**base.labels, **over.labels},
        template_driver=over.template_driver or base.template_driver,
        extras=_fields(base.extras, over.extras),
    )


def _fields(base: Mapping[str, Node], over: Mapping[str, Node]) -> dict[str, Node]:
    found = dict(base)
    for key, node in over.items():
        found[key] = _nodes(found[key], node) if key in found and key not in _REPLACED else node
    return found


def _nodes(base: Node, over: Node) -> Node:
    if isinstance(base, Map) and isinstance(over, Map):
        return Map(over.place, _fields(base.items, over.items), {**base.keys, **over.keys})
    if isinstance(base, List) and isinstance(over, List):
        return List(over.place, (*base.items, *over.items))
    return over
