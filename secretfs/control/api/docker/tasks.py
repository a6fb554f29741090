"""``/tasks``: the tasks of services, as Docker's clients list them. Ad-hoc tasks are in the native API
only.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secretfs.control.api.docker.query import filters_of
from secretfs.control.api.docker.spec import container_spec
from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.records.lookup import Found
from secretfs.control.usecases.filters import Filters, check_keys, labelled, matches
from secretfs.control.usecases.services import Services
from secretfs.control.usecases.tasks import Tasks
from secretfs.core.names import ServiceId, TaskId, folded
from secretfs.core.service import Service
from secretfs.core.task import Task
from secretfs.errors import BadRequestError, NotFoundError

_FILTERS: Final = frozenset({"name", "id", "label", "service", "node", "desired-state", "runtime", "_up-to-date"})
_STATES: Final = frozenset({"running", "shutdown", "accepted"})
_DESIRED = "running"  # of a task that is there at all
_RUNTIME = "container"

ServicesById = Mapping[ServiceId, Found[Service]]


@dataclass(frozen=True, slots=True)
class _Slotted:
    """A task of a service and its number among them."""

    task: Found[Task]
    service_id: ServiceId
    slot: int

    @property
    def name(self) -> str:
        """As docker's command line puts it together."""
        return f"{self.task.value.service_name}.{self.slot}"


class TaskRoutes:
    """The routes of tasks."""

    def __init__(self, tasks: Tasks, services: Services, node_id: str) -> None:
        self._tasks = tasks
        self._services = services
        self._node_id = node_id
        self._slots: dict[TaskId, int] = {}  # as they were told: a task keeps its number while it lives

    def routes(self) -> Routes:
        """Where they are."""
        return {("GET", "/tasks"): self._list, ("GET", "/tasks/{}"): self._inspect}

    async def _list(self, request: Request, _: str) -> Response:
        filters = filters_of(request)
        _check(filters)
        services = await self._services_by_id()
        return json_response(
            [
                self._shown(slotted, services)
                for slotted in await self._slotted()
                if self._wanted(filters, slotted, services)
            ]
        )

    async def _inspect(self, _: Request, reference: str) -> Response:
        task = await self._tasks.find(reference)
        services = await self._services_by_id()
        for slotted in await self._slotted():
            if slotted.task.value.id == task.id:
                return json_response(self._shown(slotted, services))
        raise NotFoundError(f"task {reference} not found")

    async def _services_by_id(self) -> ServicesById:
        return {found.value.id: found for found in await self._services.listed()}

    async def _slotted(self) -> list[_Slotted]:
        """The tasks of services, each with the lowest number that was free in its service when it was first seen."""
        tasks = [found for found in await self._tasks.listed() if found.value.service_id is not None]
        living = {found.value.id for found in tasks}
        self._slots = {task_id: slot for task_id, slot in self._slots.items() if task_id in living}
        taken: defaultdict[ServiceId, set[int]] = defaultdict(set)
        for task in (found.value for found in tasks):
            if task.service_id is not None and task.id in self._slots:
                taken[task.service_id].add(self._slots[task.id])
        return [self._numbered(found, taken) for found in tasks]

    def _numbered(self, found: Found[Task], taken: Mapping[ServiceId, set[int]]) -> _Slotted:
        service_id = found.value.service_id
        assert service_id is not None
        if found.value.id not in self._slots:
            slot = next(number for number in itertools.count(1) if number not in taken[service_id])
            self._slots[found.value.id] = slot
            taken[service_id].add(slot)
        return _Slotted(found, service_id, self._slots[found.value.id])

    def _wanted(self, filters: Filters, slotted: _Slotted, services: ServicesById) -> bool:
        task = slotted.task.value
        named = {key: filters[key] for key in ("name", "id") if key in filters}
        return (
            matches(named, name=slotted.name, object_id=task.id, labels={})
            and labelled(filters.get("label", ()), task.labels)
            and _of_service(filters.get("service"), slotted, services)
            and any(self._node_id.startswith(node) or node == "self" for node in filters.get("node", ("self",)))
            and _DESIRED in filters.get("desired-state", (_DESIRED,))
            and _RUNTIME in filters.get("runtime", (_RUNTIME,))
        )

    def _shown(self, slotted: _Slotted, services: ServicesById) -> dict[str, object]:
        task = slotted.task.value
        service = services.get(slotted.service_id)
        since = rfc3339(task.since_ns)
        pid = task.leader.pid if task.leader else 0
        return {
            "ID": task.id,
            "Version": {"Index": slotted.task.rev},
            "CreatedAt": since,
            "UpdatedAt": since,
            "Labels": {},
            "Spec": {"ContainerSpec": container_spec(service.value.spec) if service else {}, "ForceUpdate": 0},
            "ServiceID": slotted.service_id,
            "Slot": slotted.slot,
            "NodeID": self._node_id,
            "Status": {
                "Timestamp": since,
                "State": task.state.value,
                "Message": "attached",
                "ContainerStatus": {"ContainerID": "", "PID": pid, "ExitCode": 0},
                "PortStatus": {},
            },
            "DesiredState": _DESIRED,
        }


def _check(filters: Filters) -> None:
    check_keys(filters, _FILTERS)
    for state in filters.get("desired-state", ()):
        if state not in _STATES:
            raise BadRequestError(f"invalid desired-state filter: '{state}'")


def _of_service(wanted: tuple[str, ...] | None, slotted: _Slotted, services: ServicesById) -> bool:
    """Whether the task's service is one of those, by id, id prefix or name."""
    if wanted is None:
        return True
    found = services.get(slotted.service_id)
    name = found.value.name if found else slotted.task.value.service_name
    return any(folded(name) == folded(text) or slotted.service_id.startswith(text) for text in wanted)
