"""``/secretfs/v1/secrets/REF/versions`` and, by kind, ``configs``. Docker's API has none: its values never change.

Rule: the value in a body is decoded into one buffer, and that is wiped.
"""

import math
from http import HTTPStatus
from typing import Final

import msgspec

from secretfs.control.api.docker.base64 import value_of
from secretfs.control.api.docker.json import canonical, decoded, labels_of, mismatch, number_of, raw_fields
from secretfs.control.api.http import Request, Response, json_response, wipe
from secretfs.control.api.native import BASE
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.usecases.versions import Pruned, Revised, Revision, Versions
from secretfs.core.names import Kind
from secretfs.core.secret import DRAIN_MS
from secretfs.core.versions import VersionUse
from secretfs.errors import BadRequestError

_FIELDS: Final = ("Drain", "Labels", "Version", "Keep")
_MAX_NUMBER: Final = 2**32 - 1


class VersionRoutes:
    """The routes of one kind of object."""

    def __init__(self, kind: Kind, versions: Versions) -> None:
        self._kind = kind
        self._versions = versions
        self._where = f"{kind.value.capitalize()}Version"

    def routes(self) -> Routes:
        """Where they are."""
        base = f"{BASE}/{self._kind.value}s/{{}}"
        return {
            ("GET", f"{base}/versions"): self._list,
            ("POST", f"{base}/versions"): self._update,
            ("POST", f"{base}/rollback"): self._rollback,
            ("POST", f"{base}/prune"): self._prune,
        }

    async def _list(self, _: Request, reference: str) -> Response:
        return json_response([_use(use) for use in await self._versions.listed(self._kind, reference)])

    async def _update(self, request: Request, reference: str) -> Response:
        raw = raw_fields(request)
        data = raw.pop("data", None)
        revision = self._revision(reference, self._canonical(raw))
        value = value_of(data, f"{self._where}.Data")
        try:
            revised = await self._versions.update(request.peer, revision, value)
        finally:
            wipe(value)
        return _revised(revised)

    async def _rollback(self, request: Request, reference: str) -> Response:
        fields = self._canonical(raw_fields(request))
        number = self._number(fields, "Version")
        return _revised(await self._versions.rollback(request.peer, self._revision(reference, fields), number))

    async def _prune(self, request: Request, reference: str) -> Response:
        keep = self._number(self._canonical(raw_fields(request)), "Keep")
        return _pruned(await self._versions.prune(request.peer, self._kind, reference, keep))

    def _canonical(self, raw: dict[str, msgspec.Raw]) -> dict[str, object]:
        known = {name: decoded(raw[name.lower()]) for name in _FIELDS if name.lower() in raw}
        return canonical(known, _FIELDS, self._where)

    def _number(self, fields: dict[str, object], key: str) -> int:
        return number_of(fields, key, self._where, "uint32", _MAX_NUMBER)

    def _revision(self, reference: str, fields: dict[str, object]) -> Revision:
        labels = labels_of(fields, "Labels", self._where)
        return Revision(self._kind, reference, self._drain_ms(fields.get("Drain")), labels)

    def _drain_ms(self, seconds: object) -> int:
        if seconds is None:
            return DRAIN_MS
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise mismatch(seconds, f"{self._where}.Drain", "float64")
        if not (math.isfinite(seconds) and 0 <= seconds <= _MAX_NUMBER):
            raise BadRequestError(f"invalid drain: {seconds} is no number of seconds")
        return math.ceil(seconds * 1000)


def _revised(revised: Revised) -> Response:
    shown = {"ID": revised.object_id, "Version": revised.number, "Unchanged": revised.unchanged}
    status = HTTPStatus.OK if revised.unchanged else HTTPStatus.CREATED
    return json_response({**shown, "Warnings": list(revised.warnings)}, status)


def _pruned(pruned: Pruned) -> Response:
    kept = [{"Version": kept.number, "Reasons": list(kept.reasons)} for kept in pruned.kept]
    return json_response({"Removed": list(pruned.removed), "Kept": kept})


def _use(use: VersionUse) -> dict[str, object]:
    draining = [{"Task": held.task, "Until": rfc3339(held.until_ns or 0)} for held in use.draining]
    return {
        "Version": use.version.number,
        "CreatedAt": rfc3339(use.version.created_at_ns),
        "Size": use.version.size,
        "Newest": use.newest,
        "Services": list(use.services),
        "PinnedBy": list(use.pinned_by),
        "Tasks": list(use.tasks),
        "Draining": draining,
        "Safe": use.safe,
    }
