"""``/services``. secretfs starts nothing, so a service is "completed" at once and docker's command line
waits for nothing.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from secretfs.control.api.docker import beside
from secretfs.control.api.docker.defaults import filled
from secretfs.control.api.docker.names import service_name
from secretfs.control.api.docker.networks import with_ids
from secretfs.control.api.docker.query import filters_of, flag, numbered_version
from secretfs.control.api.docker.spec import mode_of, service_draft
from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.records.lookup import Found
from secretfs.control.usecases.filters import Filters, check_keys, matches
from secretfs.control.usecases.networks import Networks
from secretfs.control.usecases.services import ServiceDraft, Services
from secretfs.control.usecases.tasks import Tasks
from secretfs.core.service import Service
from secretfs.core.task import TaskState

_FILTERS: Final = frozenset({"name", "id", "label", "mode", "runtime"})
_RUNTIME = "container"


class ServiceRoutes:
    """The routes of services."""

    def __init__(self, services: Services, tasks: Tasks, networks: Networks) -> None:
        self._services = services
        self._tasks = tasks
        self._networks = networks

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("POST", "/services/create"): self._create,
            ("GET", "/services"): self._list,
            ("GET", "/services/{}"): self._inspect,
            ("POST", "/services/{}/update"): self._update,
            ("DELETE", "/services/{}"): self._remove,
        }

    async def _create(self, request: Request, _: str) -> Response:
        draft = await self._draft(request, lambda: service_name(os.urandom(2)))
        service_id = await self._services.create(request.peer, draft)
        return json_response({"ID": service_id, "Warnings": None}, HTTPStatus.CREATED)

    async def _list(self, request: Request, _: str) -> Response:
        filters = filters_of(request)
        check_keys(filters, _FILTERS)
        found = [service for service in await self._services.listed() if _wanted(filters, service.value)]
        shown = [_shown(service) for service in found]
        if flag(request, "status"):
            running = await self._running()
            for service, fields in zip(found, shown, strict=True):
                fields["ServiceStatus"] = _status(running.get(service.value.id, 0))
        return json_response(shown)

    async def _inspect(self, request: Request, reference: str) -> Response:
        found = await self._services.inspect(reference)
        if flag(request, "insertDefaults"):
            found = replace(found, value=replace(found.value, spec=filled(found.value.spec)))
        return json_response(_shown(found))

    async def _update(self, request: Request, reference: str) -> Response:
        rev = numbered_version(request, "service")
        if request.query.get("rollback") == "previous":
            warnings = await self._services.rollback(request.peer, reference, rev)
        else:
            name = (await self._services.inspect(reference)).value.name
            draft = await self._draft(request, lambda: name)
            warnings = await self._services.update(request.peer, reference, rev, draft)
        return json_response({"Warnings": warnings or None})

    async def _remove(self, request: Request, reference: str) -> Response:
        await self._services.remove(request.peer, reference)
        return Response(HTTPStatus.OK)

    async def _draft(self, request: Request, fresh_name: Callable[[], str]) -> ServiceDraft:
        draft = await service_draft(request, fresh_name)
        return replace(draft, spec=await with_ids(self._networks, draft.spec))

    async def _running(self) -> dict[str, int]:
        running: dict[str, int] = {}
        for found in await self._tasks.listed():
            if found.value.service_id is not None and found.value.state is TaskState.RUNNING:
                running[found.value.service_id] = running.get(found.value.service_id, 0) + 1
        return running


def _status(running: int) -> dict[str, int]:
    """What runs is what is wanted: tasks come by themselves."""
    return {"RunningTasks": running, "DesiredTasks": running, "CompletedTasks": 0}


def _wanted(filters: Filters, service: Service) -> bool:
    return (
        matches(filters, name=service.name, object_id=service.id, labels=service.labels)
        and mode_of(service.spec) in filters.get("mode", (mode_of(service.spec),))
        and _RUNTIME in filters.get("runtime", (_RUNTIME,))
    )


def _shown(found: Found[Service]) -> dict[str, object]:
    service = found.value
    shown: dict[str, object] = {
        "ID": service.id,
        "Version": {"Index": found.rev},
        "CreatedAt": rfc3339(service.created_at_ns),
        "UpdatedAt": rfc3339(service.updated_at_ns),
        "Spec": {**service.spec, **beside.shown(service.extras, service.grants)},
    }
    if service.previous_spec is not None:
        previous = beside.shown(service.previous_extras, service.previous_grants)
        shown["PreviousSpec"] = {**service.previous_spec, **previous}
    endpoint = service.spec.get("EndpointSpec")
    shown["Endpoint"] = {"Spec": endpoint if isinstance(endpoint, dict) else {}}
    changed = rfc3339(service.updated_at_ns)
    shown["UpdateStatus"] = {
        "State": "completed",
        "StartedAt": changed,
        "CompletedAt": changed,
        "Message": "secretfs starts no tasks: they attach",
    }
    return shown
