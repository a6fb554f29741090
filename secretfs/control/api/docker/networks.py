"""``/networks``: what was created, and the three that every engine has. Nothing is ever connected to any."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from secretfs.control.api.docker.json import Json, canonical, decoded, labels_of, raw_fields, text_of
from secretfs.control.api.docker.query import filters_of
from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.usecases.filters import Filters, check_keys, labelled
from secretfs.control.usecases.networks import Networks
from secretfs.core.network import Network
from secretfs.core.service import JsonObject
from secretfs.errors import BadRequestError, ConflictError, NotFoundError

_FILTERS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_FIELDS: Final = (
    "Name", "Driver", "Scope", "EnableIPv4", "EnableIPv6", "IPAM", "Internal", "Attachable", "Ingress", "ConfigOnly",
    "ConfigFrom", "Options", "Labels", "CheckDuplicate",
)  # fmt: skip
_WHERE: Final = "NetworkCreateRequest"
_OVERLAY: Final = "overlay"
_DRIVERS: Final = frozenset({_OVERLAY, "bridge", "macvlan", "ipvlan"})
_BUILT_IN: Final = {"bridge": "bridge", "host": "host", "none": "null"}  # name: driver
_IPAM: Final[Json] = {"Driver": "default", "Options": None, "Config": []}
_BEGINNING: Final = "1970-01-01T00:00:00Z"
_DANGLING: Final = {"true": True, "1": True, "false": False, "0": False}

Shown = Mapping[str, object]


class NetworkRoutes:
    """The routes of networks."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("POST", "/networks/create"): self._create,
            ("GET", "/networks"): self._list,
            ("GET", "/networks/{}"): self._inspect,
            ("DELETE", "/networks/{}"): self._remove,
        }

    async def _create(self, request: Request, _: str) -> Response:
        spec = canonical({key: decoded(raw) for key, raw in raw_fields(request).items()}, _FIELDS, _WHERE)
        name = text_of(spec, "Name", _WHERE)
        if name in _BUILT_IN:
            raise ConflictError(f"network with name {name} already exists")
        driver = text_of(spec, "Driver", _WHERE) or "bridge"
        if driver not in _DRIVERS:
            raise NotFoundError(f'plugin "{driver}" not found')
        labels = labels_of(spec, "Labels", _WHERE)
        network_id = await self._networks.create(request.peer, name, labels, spec | {"Driver": driver})
        return json_response({"Id": network_id, "Warning": ""}, HTTPStatus.CREATED)

    async def _list(self, request: Request, _: str) -> Response:
        filters = filters_of(request)
        _check(filters)
        return json_response([shown for shown in await self._all() if _wanted(filters, shown)])

    async def _inspect(self, _: Request, reference: str) -> Response:
        if reference in _BUILT_IN:
            return json_response(_built_in(reference))
        return json_response(_shown((await self._networks.inspect(reference)).value))

    async def _remove(self, request: Request, reference: str) -> Response:
        if reference in _BUILT_IN:
            raise ConflictError(f"{reference} is a pre-defined network and cannot be removed")
        await self._networks.remove(request.peer, reference)
        return Response(HTTPStatus.NO_CONTENT)

    async def _all(self) -> list[Shown]:
        return [*map(_built_in, _BUILT_IN), *(_shown(found.value) for found in await self._networks.listed())]


async def with_ids(networks: Networks, spec: JsonObject) -> JsonObject:
    """The spec of a service with the ids of the networks that it names. Raises: NotFoundError, AmbiguousError."""
    task = spec.get("TaskTemplate")
    found = await _targets(networks, spec)
    return found | {"TaskTemplate": await _targets(networks, task)} if isinstance(task, Mapping) else found


async def _targets(networks: Networks, part: JsonObject) -> dict[str, object]:
    wanted = part.get("Networks")
    if not isinstance(wanted, list):
        return dict(part)
    return dict(part) | {"Networks": [await _target(networks, one) for one in wanted]}


async def _target(networks: Networks, one: object) -> object:
    fields = canonical(one, ("Target",), "ServiceSpec.Networks")
    name = text_of(fields, "Target", "ServiceSpec.Networks")
    return fields if name in _BUILT_IN else fields | {"Target": (await networks.inspect(name)).value.id}


def _check(filters: Filters) -> None:
    check_keys(filters, _FILTERS)
    for kind in filters.get("type", ()):
        if kind not in ("builtin", "custom"):
            raise BadRequestError(f"invalid filter: 'type'='{kind}'")
    for text in filters.get("dangling", ()):
        if text not in _DANGLING:
            choice = 'must be "true" (or "1"), or "false" (or "0")'
            raise BadRequestError(f"invalid value for filter 'dangling', {choice}")


def _wanted(filters: Filters, shown: Shown) -> bool:
    built_in = shown["Name"] in _BUILT_IN
    labels = shown["Labels"]
    assert isinstance(labels, Mapping)
    return (
        all(
            any(str(shown[field]).startswith(text) for text in filters.get(key, ("",)))
            for key, field in (("name", "Name"), ("id", "Id"))
        )
        and shown["Driver"] in filters.get("driver", (shown["Driver"],))
        and shown["Scope"] in filters.get("scope", (shown["Scope"],))
        and labelled(filters.get("label", ()), labels)
        and ("builtin" if built_in else "custom") in filters.get("type", ("builtin", "custom"))
        and all(_DANGLING[text] is not built_in for text in filters.get("dangling", ()))
    )


def _built_in(name: str) -> Shown:
    network_id = name.encode().hex().ljust(64, "0")
    return {**_fields(name, network_id, _BEGINNING, {"Driver": _BUILT_IN[name]}), "Scope": "local"}


def _shown(network: Network) -> Shown:
    shown = _fields(network.name, network.id, rfc3339(network.created_at_ns), network.spec)
    scope = "swarm" if network.spec["Driver"] == _OVERLAY else "local"
    return {**shown, "Scope": scope, "Labels": network.labels}


def _fields(name: str, network_id: str, created: str, spec: Json) -> dict[str, object]:
    """As Docker orders them."""
    return {
        "Name": name,
        "Id": network_id,
        "Created": created,
        "Scope": "",
        "Driver": spec["Driver"],
        "EnableIPv4": spec.get("EnableIPv4", True),
        "EnableIPv6": spec.get("EnableIPv6", False),
        "IPAM": spec.get("IPAM") or _IPAM,
        "Internal": spec.get("Internal", False),
        "Attachable": spec.get("Attachable", False),
        "Ingress": spec.get("Ingress", False),
        "ConfigFrom": spec.get("ConfigFrom") or {"Network": ""},
        "ConfigOnly": spec.get("ConfigOnly", False),
        "Containers": {},
        "Options": spec.get("Options") or {},
        "Labels": {},
    }
