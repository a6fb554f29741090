"""Several files as one. Rule: what a later file says wins, and what it does not say stays.

As docker merges, less what it loses: a definition that says where its value comes from takes the place of the earlier
one; one that does not (it adds a label) changes it, and docker forgets the file. Of a service's grants, those of a
source take the place of the earlier ones of that source; docker also drops all but one of a source's targets.
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
    if over.source or over.driver or over.external is not None:
        return over
    return replace(
        base,
        place=over.place,
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
