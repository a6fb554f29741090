"""Where the routes of the Engine API come together, behind the versions of its paths."""

import re
from typing import Final

from secretfs import __version__
from secretfs.control.api.docker.system import API_VERSION, MIN_API_VERSION
from secretfs.errors import BadRequestError

_VERSIONED = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(/.*)")
HEADERS: Final = (
    ("Api-Version", API_VERSION),
    ("Ostype", "linux"),
    ("Server", f"secretfs/{__version__} (linux)"),
)


def versionless(path: str) -> str:
    """The path without its ``/vX.Y``. Raises: BadRequestError, for a version that is not served, with
    Docker's text.
    """
    match = _VERSIONED.fullmatch(path)
    if match is None:
        return path
    version = int(match[1]), int(match[2])
    if version > _numbers(API_VERSION):
        raise BadRequestError(
            f"client version {match[1]}.{match[2]} is too new. Maximum supported API version is {API_VERSION}"
        )
    if version < _numbers(MIN_API_VERSION):
        raise BadRequestError(
            f"client version {match[1]}.{match[2]} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    return match[3]


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)
