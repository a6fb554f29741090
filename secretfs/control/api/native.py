"""``/secretfs/v1/…``: what Docker's API has not. Made for secretfs's own command line; fields are Docker's
style.
"""

from http import HTTPStatus

import msgspec

from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.presence import Presence
from secretfs.control.usecases.keys import Rotation
from secretfs.control.usecases.tasks import Shown, Tasks
from secretfs.core.grant import Grant
from secretfs.core.plan import Entry
from secretfs.errors import BadRequestError, NotFoundError
from secretfs.store.base import Store

BASE = "/secretfs/v1"


class KeyRoutes:
    """The routes of key-encryption keys."""

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("GET", f"{BASE}/keys"): self._list,
            ("POST", f"{BASE}/keys/rotation"): self._begin,
            ("GET", f"{BASE}/keys/rotation"): self._progress,
        }

    async def _list(self, _: Request, __: str) -> Response:
        found = await self._rotation.listed()
        active = list(found)[-1]
        return json_response([{"ID": key, "Active": key == active, "Values": count} for key, count in found.items()])

    async def _begin(self, request: Request, _: str) -> Response:
        return json_response({"ID": await self._rotation.begin(request.peer)}, HTTPStatus.ACCEPTED)

    async def _progress(self, _: Request, __: str) -> Response:
        progress = self._rotation.progress
        return json_response(
            {
                "Running": progress.running,
                "Done": progress.done,
                "Total": progress.total,
                "Failure": progress.failure,
            }
        )


class NativeRoutes:
    """The routes of tasks, and of who waits for something."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self._tasks = tasks
        self._presence = Presence(store)

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("GET", f"{BASE}/tasks"): self._list,
            ("DELETE", f"{BASE}/tasks/{{}}"): self._detach,
            ("GET", f"{BASE}/wait"): self._wait,
        }

    async def _list(self, _: Request, __: str) -> Response:
        return json_response([_task(shown) for shown in await self._tasks.shown()])

    async def _detach(self, request: Request, reference: str) -> Response:
        task = await self._tasks.find(reference)
        if not await self._tasks.detach(task.id, "detached by hand", caller=request.peer):
            raise NotFoundError(f"task {task.id} not found: somebody else has ended it meanwhile")
        return Response(HTTPStatus.NO_CONTENT)

    async def _wait(self, request: Request, _: str) -> Response:
        try:
            secrets = msgspec.json.decode(request.query.get("secrets", "[]"), type=list[str])
            seconds = msgspec.json.decode(request.query.get("seconds", "0"), type=float)  # JSON has no nan
        except (msgspec.DecodeError, UnicodeEncodeError) as exc:
            raise BadRequestError(f"invalid query of wait: {exc}") from None
        missing = await self._presence.missing(request.query.get("service"), secrets, seconds)
        return json_response({"Missing": missing})


def _task(shown: Shown) -> dict[str, object]:
    task = shown.task
    return {
        "ID": task.id,
        "Service": task.service_name,
        "ServiceID": task.service_id or "",
        "PID": task.leader.pid if task.leader else 0,
        "Since": rfc3339(task.since_ns),
        "State": task.state.value,
        "TargetDir": task.target_dir,
        "Grants": [_grant(grant, entry) for grant, entry in shown.files],
        "Lacking": shown.lacking,
    }


def _grant(grant: Grant, entry: Entry) -> dict[str, object]:
    return {
        "Kind": grant.kind.value,
        "Name": grant.object_name,
        "ID": grant.object_id,
        "Version": entry.content.number,
        "Target": entry.target,
        "UID": entry.uid,
        "GID": entry.gid,
        "Mode": grant.mode,
    }
