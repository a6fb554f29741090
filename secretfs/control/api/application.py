"""All routes together: what answers a request. Rule: no SecretfsError leaves the handler, and every answer
has Docker's headers.
"""

import socket
from dataclasses import replace
from typing import Final

from secretfs.control.api.auditing import AuditRoutes
from secretfs.control.api.docker import absent
from secretfs.control.api.docker.api import HEADERS, versionless
from secretfs.control.api.docker.events import EventRoutes
from secretfs.control.api.docker.networks import NetworkRoutes
from secretfs.control.api.docker.nodes import NodeRoutes
from secretfs.control.api.docker.secrets import SecretRoutes
from secretfs.control.api.docker.services import ServiceRoutes
from secretfs.control.api.docker.swarm import SwarmRoutes
from secretfs.control.api.docker.system import SystemRoutes, node_id_of
from secretfs.control.api.docker.tasks import TaskRoutes
from secretfs.control.api.errors import response_for
from secretfs.control.api.http import Request, Response
from secretfs.control.api.native import BASE, KeyRoutes, NativeRoutes
from secretfs.control.api.router import Routes, answered
from secretfs.control.api.server import Handler
from secretfs.control.api.versions import VersionRoutes
from secretfs.control.usecases.commits import Commits
from secretfs.control.usecases.keys import Rotation
from secretfs.control.usecases.membership import Membership
from secretfs.control.usecases.networks import Networks
from secretfs.control.usecases.node import Node
from secretfs.control.usecases.secrets import Secrets
from secretfs.control.usecases.services import Services
from secretfs.control.usecases.swarm import Swarm
from secretfs.control.usecases.tasks import Tasks
from secretfs.control.usecases.versions import Versions
from secretfs.control.values import Values
from secretfs.core.names import Kind
from secretfs.errors import LockedError, NotInSwarmError, SecretfsError

# What needs no key, and tells or takes away only. Everything else is refused while the store is locked.
_WHILE_LOCKED: Final = {
    ("HEAD", "/_ping"),
    ("GET", "/_ping"),
    ("GET", "/version"),
    ("GET", "/info"),
    ("POST", "/swarm/init"),  # refused in other words
    ("POST", "/swarm/join"),
    ("POST", "/swarm/leave"),
    ("POST", "/swarm/unlock"),
    ("GET", f"{BASE}/tasks"),
    ("DELETE", f"{BASE}/tasks/{{}}"),
    ("GET", f"{BASE}/audit"),
    ("GET", f"{BASE}/audit/verify"),
}
_OUTSIDE: Final = {*_WHILE_LOCKED, *absent.routes(), ("GET", "/events"), ("GET", "/networks")} - {
    ("POST", "/swarm/unlock")
}


def api(commits: Commits, values: Values, tasks: Tasks, swarm: Swarm, rotation: Rotation) -> Handler:
    """The Docker Engine API and the native one."""
    keys = swarm.keys
    node_id = node_id_of(keys.cluster_id)
    secrets = Secrets(commits, values)
    services = Services(commits, tasks)
    networks = Networks(commits)
    versions = Versions(commits, values, tasks)
    routes: Routes = {
        **SystemRoutes(swarm).routes(),
        **NodeRoutes(Node(commits, node_id, socket.gethostname())).routes(),
        **SwarmRoutes(swarm, Membership(commits, keys, tasks), node_id).routes(),
        **KeyRoutes(rotation).routes(),
        **SecretRoutes(Kind.SECRET, secrets).routes(),
        **SecretRoutes(Kind.CONFIG, secrets).routes(),
        **ServiceRoutes(services, tasks, networks).routes(),
        **TaskRoutes(tasks, services, node_id).routes(),
        **NetworkRoutes(networks).routes(),
        **EventRoutes(commits.events, commits.now_ns).routes(),
        **absent.routes(),
        **NativeRoutes(commits.store, tasks).routes(),
        **AuditRoutes(commits).routes(),
        **VersionRoutes(Kind.SECRET, versions).routes(),
        **VersionRoutes(Kind.CONFIG, versions).routes(),
    }
    locked = {place: route if place in _WHILE_LOCKED else _locked for place, route in routes.items()}
    outside = {place: route if place in _OUTSIDE else _left for place, route in routes.items()}

    async def handler(request: Request) -> Response:
        try:
            served = outside if keys.left else locked if keys.locked else routes
            response = await answered(served, request, versionless(request.path))
        except SecretfsError as error:
            response = response_for(error)
        return replace(response, headers=(*HEADERS, *response.headers))

    return handler


async def _locked(_: Request, __: str) -> Response:
    raise LockedError


async def _left(_: Request, __: str) -> Response:
    raise NotInSwarmError
