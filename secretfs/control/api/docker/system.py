"""``/_ping``, ``/version``, ``/info`` and ``/nodes``: one host, which is an active (or locked) swarm of one node.
Mostly constants.
"""

import hashlib
import os
import platform
import socket
from http import HTTPStatus
from typing import Final

from secretfs import __version__
from secretfs.control.api.docker.query import filters_of
from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.keys import Keys
from secretfs.control.records.lookup import Noun, not_found
from secretfs.control.usecases.filters import check_keys, matches
from secretfs.core.names import ID_RANDOM_BYTES, id_from
from secretfs.errors import LockedError

API_VERSION: Final = "1.50"
MIN_API_VERSION: Final = "1.24"
_NODE: Final = Noun("node", object)
_FILTERS: Final = frozenset({"name", "id", "label", "role", "membership", "node.label"})
_BEGINNING = "1970-01-01T00:00:00Z"
_NO_CACHE = ("Cache-Control", "no-cache, no-store, must-revalidate")
_PING_HEADERS: Final = (
    ("Docker-Experimental", "false"),
    ("Builder-Version", "1"),
    _NO_CACHE,
    ("Pragma", "no-cache"),
)


def node_id_of(cluster_id: str) -> str:
    """The id of the one node, always the same for a store."""
    return id_from(hashlib.blake2b(f"node {cluster_id}".encode(), digest_size=ID_RANDOM_BYTES).digest())


class SystemRoutes:
    """The routes that tell what this is."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._cluster_id = keys.cluster_id
        self._node_id = node_id_of(keys.cluster_id)

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("HEAD", "/_ping"): self._ping,
            ("GET", "/_ping"): self._ping,
            ("GET", "/version"): _version,
            ("GET", "/info"): self._info,
            ("GET", "/nodes"): self._nodes,
            ("GET", "/nodes/{}"): self._node,
        }

    async def _ping(self, request: Request, _: str) -> Response:
        body = b"" if request.method == "HEAD" else b"OK"
        swarm = ("Swarm", "locked" if self._keys.locked else "active/manager")
        return Response(HTTPStatus.OK, body, (*_PING_HEADERS, swarm, ("Content-Type", "text/plain; charset=utf-8")))

    async def _info(self, _: Request, __: str) -> Response:
        host = os.uname()
        return json_response(
            {
                "ID": self._cluster_id,
                "Containers": 0,
                "Images": 0,
                "Driver": "secretfs",
                "Plugins": {"Volume": [], "Network": [], "Authorization": None, "Log": []},
                "OperatingSystem": host.sysname,
                "OSType": "linux",
                "Architecture": host.machine,
                "KernelVersion": host.release,
                "NCPU": os.cpu_count(),
                "MemTotal": _memory_bytes(),
                "Name": host.nodename,
                "ServerVersion": __version__,
                "Swarm": self._swarm(),
                "SecurityOptions": [],
                "Warnings": None,
            }
        )

    def _swarm(self) -> dict[str, object]:
        if self._keys.locked:
            return {
                "NodeID": self._node_id,
                "NodeAddr": "127.0.0.1",
                "LocalNodeState": "locked",
                "ControlAvailable": False,
                "Error": str(LockedError()),
                "RemoteManagers": None,
            }
        return {
            "NodeID": self._node_id,
            "NodeAddr": "127.0.0.1",
            "LocalNodeState": "active",
            "ControlAvailable": True,
            "Error": "",
            "RemoteManagers": None,
            "Nodes": 1,
            "Managers": 1,
        }

    async def _nodes(self, request: Request, _: str) -> Response:
        filters = filters_of(request)
        check_keys(filters, _FILTERS)
        wanted = (
            matches(filters, name=socket.gethostname(), object_id=self._node_id, labels={})
            and "manager" in filters.get("role", ("manager",))
            and "accepted" in filters.get("membership", ("accepted",))
            and not filters.get("node.label")
        )
        return json_response([self._shown()] if wanted else [])

    async def _node(self, _: Request, reference: str) -> Response:
        if not reference or not (self._node_id.startswith(reference) or reference == socket.gethostname()):
            raise not_found(_NODE, reference)
        return json_response(self._shown())

    def _shown(self) -> dict[str, object]:
        host = os.uname()
        return {
            "ID": self._node_id,
            "Version": {"Index": 1},
            "CreatedAt": _BEGINNING,
            "UpdatedAt": _BEGINNING,
            "Spec": {"Labels": {}, "Role": "manager", "Availability": "active"},
            "Description": {
                "Hostname": host.nodename,
                "Platform": {"Architecture": host.machine, "OS": "linux"},
                "Resources": {"NanoCPUs": (os.cpu_count() or 1) * 10**9, "MemoryBytes": _memory_bytes()},
                "Engine": {"EngineVersion": __version__, "Plugins": []},
                "TLSInfo": {},
            },
            "Status": {"State": "ready", "Addr": "127.0.0.1"},
            "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "127.0.0.1:2377"},
        }


async def _version(_: Request, __: str) -> Response:
    host = os.uname()
    details = {"ApiVersion": API_VERSION, "MinAPIVersion": MIN_API_VERSION, "Os": "linux", "Arch": host.machine}
    return json_response(
        {
            "Platform": {"Name": "secretfs"},
            "Components": [{"Name": "secretfs", "Version": __version__, "Details": details}],
            "Version": __version__,
            **details,
            "GitCommit": "",
            "GoVersion": f"Python {platform.python_version()}",
            "KernelVersion": host.release,
            "BuildTime": "",
        }
    )


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
