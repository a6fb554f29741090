"""``/_ping``, ``/version`` and ``/info``: one host, which is an active (or locked) swarm of one node.
Mostly constants.
"""

import hashlib
import os
import platform
from http import HTTPStatus
from typing import Final

from secretfs import __version__
from secretfs.control.api.docker.nodes import ADDRESS, MANAGER_ADDRESS, memory_bytes
from secretfs.control.api.docker.swarm import shown_swarm
from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.usecases.swarm import Swarm
from secretfs.core.names import ID_RANDOM_BYTES, id_from
from secretfs.errors import LockedError, SecretfsError

API_VERSION: Final = "1.50"
MIN_API_VERSION: Final = "1.24"
_OUTSIDE: Final = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}
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

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._keys = swarm.keys
        self._cluster_id = swarm.keys.cluster_id
        self._node_id = node_id_of(self._cluster_id)

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("HEAD", "/_ping"): self._ping,
            ("GET", "/_ping"): self._ping,
            ("GET", "/version"): _version,
            ("GET", "/info"): self._info,
        }

    async def _ping(self, request: Request, _: str) -> Response:
        body = b"" if request.method == "HEAD" else b"OK"
        inactive = "inactive" if self._keys.left else "active/manager"
        swarm = ("Swarm", "locked" if self._keys.locked else inactive)
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
                "MemTotal": memory_bytes(),
                "Name": host.nodename,
                "ServerVersion": __version__,
                "Swarm": await self._membership(),
                "SecurityOptions": [],
                "Warnings": None,
            }
        )

    async def _membership(self) -> dict[str, object]:
        if self._keys.left:
            return _OUTSIDE
        node = {"NodeID": self._node_id, "NodeAddr": ADDRESS}
        if self._keys.locked:
            return {
                **node,
                "LocalNodeState": "locked",
                "ControlAvailable": False,
                "Error": str(LockedError()),
                "RemoteManagers": None,
            }
        return {
            **node,
            "LocalNodeState": "active",
            "ControlAvailable": True,
            "Error": "",
            "RemoteManagers": [{"NodeID": self._node_id, "Addr": MANAGER_ADDRESS}],
            "Nodes": 1,
            "Managers": 1,
            **await self._cluster(),
        }

    async def _cluster(self) -> dict[str, object]:
        """Left out when the store does not say: who asks what this is must be answered."""
        try:
            return {"Cluster": shown_swarm(self._cluster_id, await self._swarm.state(), tokens=False)}
        except SecretfsError:
            return {}


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
