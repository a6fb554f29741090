"""From a compose file to a stack: whole names, labels, services as Docker's API has them. Rule: a name is scoped as
docker stack does it (``STACK_key``), so that its stack commands know what secretfs made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from secretfs.core.compose.model import ComposeFile, Definition, ServiceEntry, Source
from secretfs.core.compose.spec import image_label, service_labels, task_spec
from secretfs.core.grant import Grant, GrantRequest, check_conflicts, check_duplicates, parse_target
from secretfs.core.names import Kind, ObjectId, ObjectName, ServiceName, parse_object_name, parse_service_name
from secretfs.core.service import JsonObject
from secretfs.errors import ComposeError, InvalidGrantError, InvalidNameError

NAMESPACE: Final = "com.docker.stack.namespace"  # docker cli, cli/compose/convert/compose.go: LabelNamespace


@dataclass(frozen=True, slots=True)
class StackObject:
    """A secret or config that is part of the stack. ``source`` is None when a driver has the value."""

    kind: Kind
    name: ObjectName
    source: Source | None
    labels: Mapping[str, str]
    key: str
    driver: str = ""
    driver_options: Mapping[str, str] | None = None
    template_driver: str = ""


@dataclass(frozen=True, slots=True)
class StackService:
    """A service of the stack. The sources of its grants are whole names; ``spec`` has all but the grants."""

    key: str
    name: ServiceName
    grants: tuple[GrantRequest, ...]
    spec: JsonObject


@dataclass(frozen=True, slots=True)
class Stack:
    """What a deploy makes: objects, services; and what must be there before."""

    name: str
    objects: tuple[StackObject, ...]
    services: tuple[StackService, ...]
    external: frozenset[tuple[Kind, str]]


def build(file: ComposeFile, name: str) -> Stack:
    """The stack of that name. Raises: ComposeError, InvalidNameError."""
    parse_service_name(name)
    definitions = [definition for kind in Kind for definition in file.definitions[kind].values()]
    objects = tuple(_object(definition, name) for definition in definitions if not definition.external)
    _check_names(objects)
    services = tuple(_service(file.services[key], file, name) for key in sorted(file.services))
    external = frozenset((each.kind, each.name or each.key) for each in definitions if each.external)
    return Stack(name, objects, services, external)


def check(file: ComposeFile) -> None:
    """Refuse what no name could make a stack of. Raises: ComposeError."""
    for definition in (each for kind in Kind for each in file.definitions[kind].values()):
        _check_whence(definition)
    for service in file.services.values():
        for kind in Kind:
            _named(service, kind, file, "")


def _object(definition: Definition, stack: str) -> StackObject:
    _check_whence(definition)
    name = definition.name or f"{stack}_{definition.key}"
    labels = {**definition.labels, NAMESPACE: stack}
    return StackObject(
        definition.kind,
        _object_name(definition, name),
        definition.source,
        labels,
        definition.key,
        definition.driver,
        definition.driver_options,
        definition.template_driver,
    )


def _object_name(definition: Definition, name: str) -> ObjectName:
    try:
        return parse_object_name(definition.kind, name)
    except InvalidNameError as exc:
        raise ComposeError(f"{definition.place}: {definition.kind.value} {name}: {exc}") from None


def _check_whence(definition: Definition) -> None:
    """A value comes from one place, and what is external has one already (compose-spec, 09-secrets.md)."""
    noun, key = definition.kind.value, definition.key
    if definition.external and (definition.source or definition.labels or definition.driver):
        raise ComposeError(
            f"{definition.place}: {noun} {key} is external: it is there already, and can be given a name only"
        )
    if not definition.external and definition.source is None and not definition.driver:
        raise ComposeError(
            f"{definition.place}: {noun} {key} has no value: give it a file or environment, or external: true"
        )


def _check_names(objects: tuple[StackObject, ...]) -> None:
    """Refuse two of one name: the second would be a rotation of the first."""
    seen: dict[tuple[Kind, str], str] = {}
    for each in objects:
        first = seen.setdefault((each.kind, each.name.lower()), each.key)
        if first != each.key:
            raise ComposeError(f"{each.kind.value}s {first} and {each.key} have one name: {each.name}")


def _service(service: ServiceEntry, file: ComposeFile, stack: str) -> StackService:
    try:
        name = parse_service_name(f"{stack}_{service.key}")
    except InvalidNameError as exc:
        raise ComposeError(f"{service.place}: service {stack}_{service.key}: {exc}") from None
    grants = tuple(request for kind in Kind for request in _named(service, kind, file, stack))
    spec = {
        "Name": name,
        "Labels": {**service_labels(service.fields), NAMESPACE: stack, **image_label(service.fields)},
        **task_spec(service.fields, {NAMESPACE: stack}),
    }
    return StackService(service.key, name, grants, spec)


def _named(service: ServiceEntry, kind: Kind, file: ComposeFile, stack: str) -> list[GrantRequest]:
    """The service's grants of a kind, by whole names. Raises: ComposeError, for one that the file does not define."""
    requests = [_by_name(service, request, file.definitions[kind], stack) for request in service.grants[kind]]
    try:
        check_duplicates(requests)
        check_conflicts(map(_grant, requests))
    except InvalidGrantError as exc:
        raise ComposeError(f"service {service.key}: {exc}") from None
    return requests


def _by_name(
    service: ServiceEntry, request: GrantRequest, definitions: Mapping[str, Definition], stack: str
) -> GrantRequest:
    definition = definitions.get(request.source)
    if definition is None:
        noun = request.kind.value
        failure = ComposeError(f'service {service.key}: undefined {noun} "{request.source}"')
        failure.add_note(f"define it under {noun}s")
        raise failure
    scoped = request.source if definition.external else f"{stack}_{request.source}"
    return replace(request, source=definition.name or scoped)


def _grant(request: GrantRequest) -> Grant:
    """The request as a grant, as far as targets are concerned."""
    return Grant(request.kind, ObjectId(""), ObjectName(request.source), parse_target(request.target, request.kind))
