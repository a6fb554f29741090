"""``/secrets`` and, by kind, ``/configs``. Rule: the value in a body is decoded into one buffer, and that is
wiped.

A config is answered with its data, as Docker's clients expect it. A listing of many is large: ``?data=false``,
which Docker's clients do not send, leaves it out.
"""

import contextlib
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from secretfs.control.api.docker.base64 import value_of
from secretfs.control.api.docker.json import Json, canonical, decoded, labels_of, raw_fields, text_of
from secretfs.control.api.docker.query import filters_of, object_version
from secretfs.control.api.http import Request, Response, Write, json_response, wipe
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.records.lookup import Found
from secretfs.control.usecases.secrets import Draft, Secrets
from secretfs.core.names import Kind
from secretfs.core.secret import Driver, Secret
from secretfs.errors import NotFoundError

MAX_READING: Final = 8  # clients that are being sent lists of configs with their data; the others wait
_JSON: Final = (("Content-Type", "application/json"),)
_NAMES = {
    Kind.SECRET: ("Name", "Labels", "Driver", "Templating"),
    Kind.CONFIG: ("Name", "Labels", "Templating"),  # there are no drivers of configs
}


class SecretRoutes:
    """The routes of one kind of object."""

    def __init__(self, kind: Kind, secrets: Secrets) -> None:
        self._kind = kind
        self._secrets = secrets
        self._spec = f"{kind.value.capitalize()}Spec"
        self._with_values = trio.CapacityLimiter(MAX_READING)

    def routes(self) -> Routes:
        """Where they are."""
        base = f"/{self._kind.value}s"
        return {
            ("POST", f"{base}/create"): self._create,
            ("GET", base): self._list,
            ("GET", f"{base}/{{}}"): self._inspect,
            ("DELETE", f"{base}/{{}}"): self._remove,
            ("POST", f"{base}/{{}}/update"): self._update,
        }

    async def _create(self, request: Request, _: str) -> Response:
        draft, value = self._parsed(request)
        try:
            object_id = await self._secrets.create(request.peer, draft, value)
        finally:
            wipe(value)
        return json_response({"ID": object_id}, HTTPStatus.CREATED)

    async def _list(self, request: Request, _: str) -> Response:
        found = await self._secrets.listed(self._kind, filters_of(request))
        if self._kind is Kind.SECRET or request.query.get("data") == "false":
            return json_response([_shown(secret) for secret in found])
        return Response(HTTPStatus.OK, headers=_JSON, stream=partial(self._listed, found))

    async def _listed(self, found: list[Found[Secret]], write: Write) -> None:
        """One at a time, for a few clients at a time: together they may be larger than what is in memory."""
        async with self._with_values:
            await write(b"[")
            before = b""
            for config in found:
                with contextlib.suppress(NotFoundError):  # removed meanwhile
                    await write(before + msgspec.json.encode(await self._with_data(config)))
                    before = b","
            await write(b"]\n")

    async def _inspect(self, _: Request, reference: str) -> Response:
        found = await self._secrets.inspect(self._kind, reference)
        return json_response(_shown(found) if self._kind is Kind.SECRET else await self._with_data(found))

    async def _with_data(self, found: Found[Secret]) -> dict[str, object]:
        return _shown(found, {"Data": await self._secrets.config_data(found.value)})

    async def _remove(self, request: Request, reference: str) -> Response:
        await self._secrets.remove(request.peer, self._kind, reference)
        return Response(HTTPStatus.NO_CONTENT)

    async def _update(self, request: Request, reference: str) -> Response:
        draft, value = self._parsed(request)
        try:
            rev = object_version(request, self._kind.value)
            await self._secrets.update_labels(request.peer, reference, rev, draft, value)
        finally:
            wipe(value)
        return Response(HTTPStatus.OK)

    def _parsed(self, request: Request) -> tuple[Draft, bytearray]:
        """The spec and its value; the caller wipes the value."""
        raw = raw_fields(request)
        data = raw.pop("data", None)
        names = _NAMES[self._kind]
        spec = canonical({key: decoded(raw[key.lower()]) for key in names if key.lower() in raw}, names, self._spec)
        draft = Draft(
            self._kind,
            text_of(spec, "Name", self._spec),
            labels_of(spec, "Labels", self._spec),
            self._driver(spec, "Driver"),
            self._driver(spec, "Templating"),
        )
        return draft, value_of(data, f"{self._spec}.Data")

    def _driver(self, spec: Json, key: str) -> Driver | None:
        if spec.get(key) is None:
            return None
        fields = canonical(spec[key], ("Name", "Options"), f"{self._spec}.{key}")
        return Driver(text_of(fields, "Name", "Driver"), labels_of(fields, "Options", "Driver"))


def _shown(found: Found[Secret], more: Mapping[str, object] = MappingProxyType({})) -> dict[str, object]:
    """The object as Docker's clients get it; its spec with what more there is to say."""
    secret = found.value
    return {
        "ID": secret.id,
        "Version": {"Index": found.rev},
        "CreatedAt": rfc3339(secret.created_at_ns),
        "UpdatedAt": rfc3339(secret.updated_at_ns),
        "Spec": {"Name": secret.name, "Labels": secret.labels, **more, **_templating(secret)},
    }


def _templating(secret: Secret) -> dict[str, object]:
    driver = secret.templating
    if driver is None:
        return {}
    fields = {"Name": driver.name, "Options": driver.options}
    return {"Templating": {key: value for key, value in fields.items() if value}}
