"""Docker's service spec: what secretfs reads of it, and what the engine adds to it. Rule: all else is
given back as it came.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from secretfs.control.api.docker import beside, json
from secretfs.control.api.docker.json import Json, canonical, decoded, labels_of, list_of, number_of, text_of
from secretfs.control.api.http import Request
from secretfs.control.usecases.grants import Reference, group_id, user_id
from secretfs.control.usecases.services import ServiceDraft
from secretfs.core.grant import MAX_MODE
from secretfs.core.names import Kind, parse_service_name
from secretfs.core.service import JsonObject
from secretfs.errors import BadRequestError, InvalidGrantError

_SPEC: Final = (
    "Name", "Labels", "TaskTemplate", "Mode", "UpdateConfig", "RollbackConfig", "Networks", "EndpointSpec", beside.KEY,
)  # fmt: skip
_TASK: Final = (
    "ContainerSpec", "PluginSpec", "NetworkAttachmentSpec", "Resources", "RestartPolicy", "Placement", "Networks",
    "LogDriver", "ForceUpdate", "Runtime",
)  # fmt: skip
_CONTAINER: Final = ("Image", "Labels", "Secrets", "Configs", "Isolation")
_MODES: Final = ("Replicated", "Global", "ReplicatedJob", "GlobalJob")
_MODE_TYPE = "fs.FileMode"
_WHERE = "ServiceSpec.TaskTemplate.ContainerSpec"


@dataclass(frozen=True, slots=True)
class _Place:
    """A reference in the spec, with its owners as they were written."""

    reference: Reference
    uid: str
    gid: str
    file: dict[str, object]


async def service_draft(request: Request, fresh_name: Callable[[], str]) -> ServiceDraft:
    """The spec in the body, with the engine's defaults and owners as numbers of this host.

    Raises: BadRequestError, InvalidNameError, InvalidGrantError.
    """
    spec = _with_defaults(request)
    name = text_of(spec, "Name", "ServiceSpec") or fresh_name()
    parse_service_name(name)  # refused before what is granted, as by Docker
    spec = {"Name": name} | spec | {"Name": name}
    extras = beside.taken_from(spec)
    labels = labels_of(spec, "Labels", "ServiceSpec")
    container = _container(spec)
    references = []
    for kind in Kind:
        for place in _places(container, kind):
            uid, gid = await user_id(place.uid), await group_id(place.gid)
            place.file.update(UID=str(uid), GID=str(gid))
            references.append(replace(place.reference, uid=uid, gid=gid))
    return ServiceDraft(name, labels, tuple(references), spec, extras)


def mode_of(spec: JsonObject) -> str:
    """What ``--filter mode=`` compares: replicated, global, replicated-job, global-job."""
    mode = spec.get("Mode")
    word = next(iter(mode), "Replicated") if isinstance(mode, Mapping) else "Replicated"
    return {"ReplicatedJob": "replicated-job", "GlobalJob": "global-job"}.get(word, word.lower())


def container_spec(spec: JsonObject) -> JsonObject:
    """The ContainerSpec of a stored spec."""
    task = spec.get("TaskTemplate")
    container = task.get("ContainerSpec") if isinstance(task, Mapping) else None
    return container if isinstance(container, Mapping) else {}


def _with_defaults(request: Request) -> dict[str, object]:
    raw = json.raw_fields(request)
    spec = canonical({key: decoded(value) for key, value in raw.items()}, _SPEC, "ServiceSpec")
    task = canonical(spec.get("TaskTemplate"), _TASK, "ServiceSpec.TaskTemplate")
    if task.get("ContainerSpec") is None:
        raise BadRequestError("mismatched Runtime and *Spec fields")
    container = canonical(task["ContainerSpec"], _CONTAINER, _WHERE)
    container.setdefault("Isolation", "default")
    task = task | {"ContainerSpec": container, "Runtime": "container"}
    task.setdefault("ForceUpdate", 0)
    spec = spec | {"TaskTemplate": task, "Mode": _mode(spec)}
    if spec.get("Labels") is None:
        spec["Labels"] = {}
    if spec.get("EndpointSpec") is not None:
        spec["EndpointSpec"] = {"Mode": "vip"} | canonical(spec["EndpointSpec"], ("Mode",), "ServiceSpec.EndpointSpec")
    return spec


def _mode(spec: Json) -> dict[str, object]:
    """The mode; no mode, or Replicated without a number, is one replica."""
    mode = canonical(spec.get("Mode"), _MODES, "ServiceSpec.Mode")
    if not mode or mode.get("Replicated") is not None:
        replicated = canonical(mode.get("Replicated"), ("Replicas",), "ServiceSpec.Mode.Replicated")
        replicated.setdefault("Replicas", 1)
        return mode | {"Replicated": replicated}
    return mode


def _container(spec: Json) -> dict[str, object]:
    task = spec["TaskTemplate"]
    assert isinstance(task, dict)
    container = task["ContainerSpec"]
    assert isinstance(container, dict)
    return container


def _places(container: dict[str, object], kind: Kind) -> list[_Place]:
    """The references of one kind; those in the container are replaced by ones with canonical keys."""
    word = kind.value.capitalize()
    found = list_of(container, f"{word}s", _WHERE, f"[]*swarm.{word}Reference")
    names = ("File", "Runtime", f"{word}ID", f"{word}Name")
    where = f"{_WHERE}.{word}s"
    entries = [canonical(entry, names, where) for entry in found]
    if found:
        container[f"{word}s"] = entries
    else:
        container.pop(f"{word}s", None)  # sent as [], and read back as nothing
    if kind is Kind.CONFIG and any(entry.get("File") is None for entry in entries):
        raise BadRequestError("invalid Config: either File or Runtime should be set")
    return [_place(entry, kind, where) for entry in entries]


def _place(entry: dict[str, object], kind: Kind, where: str) -> _Place:
    word = kind.value.capitalize()
    object_id, name = text_of(entry, f"{word}ID", where), text_of(entry, f"{word}Name", where)
    if not object_id or not name:
        raise InvalidGrantError(f"malformed {kind.value} reference")
    if entry.get("File") is None:
        raise InvalidGrantError(f"malformed {kind.value} reference, no target provided")
    file = canonical(entry["File"], ("Name", "UID", "GID", "Mode"), f"{where}.File")
    entry["File"] = file
    mode = number_of(file, "Mode", f"{where}.File", _MODE_TYPE, MAX_MODE)
    reference = Reference(kind, object_id, name, text_of(file, "Name", f"{where}.File"), 0, 0, mode)
    uid, gid = text_of(file, "UID", f"{where}.File"), text_of(file, "GID", f"{where}.File")
    return _Place(reference, uid or "0", gid or "0", file)
