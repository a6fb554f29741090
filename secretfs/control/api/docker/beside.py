"""``Spec.Secretfs``: what a service has that Docker's spec has no place for. Rule: it is kept beside the spec.

Docker's clients drop keys that they do not know when they read a service and write it back, so a spec without
this key changes nothing of it. Shape::

    {"AllowUIDs": [1000], "AllowGIDs": [], "OnChange": "signal:HUP", "Pins": [{"Kind": "secret", "Target": "db",
    "Version": 2}]}
"""

from collections.abc import Iterable
from typing import Final

from secretfs.control.api.docker.json import Json, canonical, list_of, mismatch, number_of, text_of
from secretfs.control.usecases.services import Beside
from secretfs.core.grant import Grant
from secretfs.core.grant_syntax import MAX_ID
from secretfs.core.names import Kind
from secretfs.core.onchange import parse_on_change
from secretfs.core.service import Extras
from secretfs.errors import BadRequestError, InvalidArgumentError, InvalidGrantError

KEY: Final = "Secretfs"
_WHERE: Final = f"ServiceSpec.{KEY}"
_FIELDS: Final = ("AllowUIDs", "AllowGIDs", "OnChange", "Pins")
_MAX_VERSION: Final = 2**32 - 1


def taken_from(spec: dict[str, object]) -> Beside | None:
    """Take the key out of the spec; None when it is not there. Raises: BadRequestError, InvalidGrantError."""
    value = spec.pop(KEY, None)
    if value is None:
        return None
    fields = canonical(value, _FIELDS, _WHERE)
    uids, gids = _ids(fields, "AllowUIDs"), _ids(fields, "AllowGIDs")
    if 0 in uids:
        raise InvalidArgumentError("uid 0 cannot be allowed: root of this host needs no leave, and no other gets it")
    on_change = text_of(fields, "OnChange", _WHERE)
    parse_on_change(on_change)
    return Beside(Extras(uids, gids, on_change), _pins(fields))


def shown(extras: Extras, grants: Iterable[Grant]) -> dict[str, object]:
    """The key with its value; nothing for a service that Docker could have."""
    pins = [
        {"Kind": grant.kind.value, "Target": grant.target, "Version": grant.version}
        for grant in grants
        if grant.version is not None
    ]
    if extras == Extras() and not pins:
        return {}
    return {
        KEY: {
            "AllowUIDs": extras.allow_uids,
            "AllowGIDs": extras.allow_gids,
            "OnChange": extras.on_change,
            "Pins": pins,
        }
    }


def _ids(fields: Json, key: str) -> tuple[int, ...]:
    numbers = list_of(fields, key, _WHERE, "[]uint32")
    found = {number_of({key: number}, key, _WHERE, "uint32", MAX_ID) for number in numbers}
    return tuple(sorted(found))


def _pins(fields: Json) -> dict[tuple[Kind, str], int]:
    pins: dict[tuple[Kind, str], int] = {}
    where = f"{_WHERE}.Pins"
    for entry in list_of(fields, "Pins", _WHERE, "[]swarm.Pin"):
        if not isinstance(entry, dict):
            raise mismatch(entry, where, "object")
        pin = canonical(entry, ("Kind", "Target", "Version"), where)
        key = _kind(text_of(pin, "Kind", where)), text_of(pin, "Target", where)
        if key in pins:
            raise InvalidGrantError(f"{key[0].value} target '{key[1]}' has two versions")
        pins[key] = number_of(pin, "Version", where, "uint32", _MAX_VERSION)
    return pins


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise BadRequestError(f"invalid kind {text!r} of a pin: it is secret or config") from None
