"""``/nodes``: this one, which is the manager and the leader."""

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from secretfs import __version__
from secretfs.control.api.docker.json import canonical, decoded, labels_of, raw_fields, text_of
from secretfs.control.api.docker.query import filters_of, numbered_version
from secretfs.control.api.docker.swarm import AVAILABILITIES, tls_info
from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.records.lookup import Noun, not_found
from secretfs.control.usecases.filters import Filters, check_keys, labelled, matches
from secretfs.control.usecases.node import Node, NodeDraft, NodeState
from secretfs.core.names import folded
from secretfs.errors import BadRequestError

ADDRESS: Final = "127.0.0.1"
MANAGER_ADDRESS: Final = f"{ADDRESS}:2377"
_NODE: Final = Noun("node", object)
_CHOICES: Final = {"role": ("manager", "worker"), "membership": ("accepted", "pending")}
_FILTERS: Final = frozenset({"name", "id", "label", "node.label", *_CHOICES})
_WHERE: Final = "NodeSpec"


class NodeRoutes:
    """The routes of nodes."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("GET", "/nodes"): self._list,
            ("GET", "/nodes/{}"): self._inspect,
            ("POST", "/nodes/{}/update"): self._update,
            ("DELETE", "/nodes/{}"): self._remove,
        }

    async def _list(self, request: Request, _: str) -> Response:
        filters = filters_of(request)
        _check(filters)
        state = await self._node.state()
        return json_response([self._shown(state)] if self._wanted(filters, state) else [])

    async def _inspect(self, _: Request, reference: str) -> Response:
        self._check_named(reference)
        return json_response(self._shown(await self._node.state()))

    async def _update(self, request: Request, reference: str) -> Response:
        version = numbered_version(request, "node")
        draft = _draft(request)
        self._check_named(reference)
        await self._node.update(request.peer, version, draft)
        return Response(HTTPStatus.OK)

    async def _remove(self, _: Request, reference: str) -> Response:
        self._check_named(reference)
        await self._node.check_removable()
        return Response(HTTPStatus.OK)

    def _check_named(self, reference: str) -> None:
        if not reference or not (
            self._node.id.startswith(reference) or folded(reference) == folded(self._node.hostname)
        ):
            raise not_found(_NODE, reference)

    def _wanted(self, filters: Filters, state: NodeState) -> bool:
        of_engine: Mapping[str, str] = {}  # its labels: this one has none
        return (
            matches(filters, name=self._node.hostname, object_id=self._node.id, labels=of_engine)
            and "manager" in filters.get("role", ("manager",))
            and "accepted" in filters.get("membership", ("accepted",))
            and labelled(filters.get("node.label", ()), state.labels)
        )

    def _shown(self, state: NodeState) -> dict[str, object]:
        host = os.uname()
        name = {"Name": state.name} if state.name else {}
        return {
            "ID": self._node.id,
            "Version": {"Index": state.rev},
            "CreatedAt": rfc3339(state.swarm.created_at_ns),
            "UpdatedAt": rfc3339(state.updated_at_ns),
            "Spec": {**name, "Labels": state.labels, "Role": "manager", "Availability": state.availability},
            "Description": {
                "Hostname": self._node.hostname,
                "Platform": {"Architecture": host.machine, "OS": "linux"},
                "Resources": {"NanoCPUs": (os.cpu_count() or 1) * 10**9, "MemoryBytes": memory_bytes()},
                "Engine": {"EngineVersion": __version__, "Plugins": []},
                "TLSInfo": tls_info(state.swarm),
            },
            "Status": {"State": "ready", "Addr": ADDRESS},
            "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": MANAGER_ADDRESS},
        }


def memory_bytes() -> int:
    """What the host has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check(filters: Filters) -> None:
    check_keys(filters, _FILTERS)
    for key, choices in _CHOICES.items():
        for text in filters.get(key, ()):
            if text not in choices:
                raise BadRequestError(f"invalid {key} filter: '{text}'")


def _draft(request: Request) -> NodeDraft:
    fields = canonical(
        {key: decoded(raw) for key, raw in raw_fields(request).items()},
        ("Name", "Labels", "Role", "Availability"),
        _WHERE,
    )
    role = text_of(fields, "Role", _WHERE)
    if role not in _CHOICES["role"]:
        raise BadRequestError(f'invalid Role: "{role}"')
    availability = text_of(fields, "Availability", _WHERE)
    if availability not in AVAILABILITIES:
        raise BadRequestError(f'invalid Availability: "{availability}"')
    labels = labels_of(fields, "Labels", _WHERE)
    return NodeDraft(labels, availability, role == "manager", text_of(fields, "Name", _WHERE))
