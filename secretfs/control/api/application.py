"""All routes together: what answers a request. Rule: no SecretfsError leaves the handler, and every answer
has Docker's headers.
"""

from dataclasses import replace

from secretfs.control.api.docker.api import HEADERS, versionless
from secretfs.control.api.docker.secrets import SecretRoutes
from secretfs.control.api.docker.services import ServiceRoutes
from secretfs.control.api.docker.system import SystemRoutes, node_id_of
from secretfs.control.api.docker.tasks import TaskRoutes
from secretfs.control.api.errors import response_for
from secretfs.control.api.http import Request, Response
from secretfs.control.api.native import NativeRoutes
from secretfs.control.api.router import Routes, answered
from secretfs.control.api.server import Handler
from secretfs.control.api.versions import VersionRoutes
from secretfs.control.usecases.commits import Commits
from secretfs.control.usecases.secrets import Secrets
from secretfs.control.usecases.services import Services
from secretfs.control.usecases.tasks import Tasks
from secretfs.control.usecases.versions import Versions
from secretfs.control.values import Values
from secretfs.core.names import Kind
from secretfs.errors import SecretfsError
from secretfs.store.base import Store


def api(store: Store, cluster_id: str, commits: Commits, values: Values, tasks: Tasks) -> Handler:
    """The Docker Engine API and the native one."""
    secrets = Secrets(commits, values)
    services = Services(commits, tasks)
    versions = Versions(commits, values, tasks)
    routes: Routes = {
        **SystemRoutes(cluster_id).routes(),
        **SecretRoutes(Kind.SECRET, secrets).routes(),
        **SecretRoutes(Kind.CONFIG, secrets).routes(),
        **ServiceRoutes(services, tasks).routes(),
        **TaskRoutes(tasks, services, node_id_of(cluster_id)).routes(),
        **NativeRoutes(store, tasks).routes(),
        **VersionRoutes(Kind.SECRET, versions).routes(),
        **VersionRoutes(Kind.CONFIG, versions).routes(),
    }

    async def handler(request: Request) -> Response:
        try:
            response = await answered(routes, request, versionless(request.path))
        except SecretfsError as error:
            response = response_for(error)
        return replace(response, headers=(*HEADERS, *response.headers))

    return handler
