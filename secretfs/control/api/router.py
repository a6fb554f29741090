"""From a method and a path to the function that answers. Rule: a path is literal, but for one part that
names an object.
"""

import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus

from secretfs.control.api.errors import response_for
from secretfs.control.api.http import Request, Response, message
from secretfs.errors import SecretfsError

Route = Callable[[Request, str], Awaitable[Response]]
Routes = Mapping[tuple[str, str], Route]  # method, path; "{}" stands for one part
_ANY = "{}"


async def answered(routes: Routes, request: Request, path: str) -> Response:
    """The route's answer, or the refusal in words. No SecretfsError leaves this."""
    try:
        for place, part in _places(path):
            route = routes.get((request.method, place))
            if route is not None:
                return await route(request, urllib.parse.unquote(part))
    except SecretfsError as error:
        return response_for(error)
    return message(HTTPStatus.NOT_FOUND, "page not found")


def _places(path: str) -> Iterator[tuple[str, str]]:
    """The path itself, then with each of its parts taken for a name, the last first."""
    yield path, ""
    parts = path.split("/")
    for at in range(len(parts) - 1, 0, -1):
        if parts[at]:
            yield "/".join([*parts[:at], _ANY, *parts[at + 1 :]]), parts[at]
