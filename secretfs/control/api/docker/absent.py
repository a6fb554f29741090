"""Containers, images, volumes and plugins: there are none. Rule: a list is empty, a look-up finds nothing, and what
would make one is refused with a sentence.

So ``docker ps`` and what asks on its way (``docker inspect``, docker-py) go on, and who wants a container learns why
not.
"""

from http import HTTPStatus
from typing import Final

from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Route, Routes
from secretfs.errors import NotFoundError, UnimplementedError

_EMPTY: Final = {
    "/containers/json": [],
    "/images/json": [],
    "/images/search": [],
    "/plugins": [],
    "/volumes": {"Volumes": [], "Warnings": None},
    "/system/df": {"LayersSize": 0, "Images": [], "Containers": [], "Volumes": [], "BuildCache": [], "BuilderSize": 0},
}
_NO_CONTAINER: Final = "No such container: {}"
_NO_IMAGE: Final = "No such image: {}"
_NO_VOLUME: Final = "get {}: no such volume"
_ASKED_OF_A_CONTAINER: Final = ("json", "top", "stats", "logs", "changes", "export")
_DONE_TO_A_CONTAINER: Final = ("start", "stop", "restart", "kill", "pause", "unpause", "wait", "rename", "update")
_MISSING: Final = {
    **{("GET", f"/containers/{{}}/{verb}"): _NO_CONTAINER for verb in _ASKED_OF_A_CONTAINER},
    **{("POST", f"/containers/{{}}/{verb}"): _NO_CONTAINER for verb in _DONE_TO_A_CONTAINER},
    ("DELETE", "/containers/{}"): _NO_CONTAINER,
    ("GET", "/distribution/{}/json"): "secretfs asks no registry about {}",
    ("GET", "/images/{}/json"): _NO_IMAGE,
    ("GET", "/images/{}/history"): _NO_IMAGE,
    ("POST", "/images/{}/tag"): _NO_IMAGE,
    ("DELETE", "/images/{}"): _NO_IMAGE,
    ("GET", "/plugins/{}/json"): 'plugin "{}" not found',
    ("GET", "/volumes/{}"): _NO_VOLUME,
    ("DELETE", "/volumes/{}"): _NO_VOLUME,
}
_NO_CONTAINERS: Final = "secretfs runs no containers: what runs attaches to a service with 'secretfs run'"
_NO_LOGS: Final = "secretfs keeps no logs of tasks: they write to where they were started"
_REFUSED: Final = {
    ("POST", "/build"): _NO_CONTAINERS,
    ("POST", "/containers/create"): _NO_CONTAINERS,
    ("POST", "/images/create"): _NO_CONTAINERS,
    ("POST", "/networks/{}/connect"): _NO_CONTAINERS,
    ("POST", "/networks/{}/disconnect"): _NO_CONTAINERS,
    ("POST", "/plugins/pull"): "secretfs has no plugins",
    ("POST", "/volumes/create"): "secretfs has no volumes",
    ("GET", "/services/{}/logs"): _NO_LOGS,
    ("GET", "/tasks/{}/logs"): _NO_LOGS,
}


def routes() -> Routes:
    """Where they are not."""
    return {
        **{("GET", place): _always(value) for place, value in _EMPTY.items()},
        **{place: _never(text) for place, text in _MISSING.items()},
        **{place: _refused(text) for place, text in _REFUSED.items()},
    }


def _always(value: object) -> Route:
    async def route(_: Request, __: str) -> Response:
        return json_response(value, HTTPStatus.OK)

    return route


def _never(text: str) -> Route:
    async def route(_: Request, reference: str) -> Response:
        raise NotFoundError(text.replace("{}", reference))

    return route


def _refused(text: str) -> Route:
    async def route(_: Request, __: str) -> Response:
        raise UnimplementedError(text)

    return route
