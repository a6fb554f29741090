"""What ``insertDefaults=true`` adds to a service spec: the fields that were not sent, as swarmkit would take them.

``docker service inspect`` asks for it (swarmkit api/defaults/service.go).
"""

from collections.abc import Mapping
from typing import Final

from secretfs.core.service import JsonObject

_SECOND_NS: Final = 10**9
_UPDATE: Final = {
    "Parallelism": 1,
    "FailureAction": "pause",
    "Monitor": 5 * _SECOND_NS,
    "MaxFailureRatio": 0,
    "Order": "stop-first",
}
_RESTART: Final = {"Condition": "any", "Delay": 5 * _SECOND_NS, "MaxAttempts": 0}
_SPEC: Final[JsonObject] = {
    "TaskTemplate": {
        "ContainerSpec": {"StopGracePeriod": 10 * _SECOND_NS, "DNSConfig": {}},
        "Resources": {},
        "RestartPolicy": _RESTART,
        "Placement": {},
    },
    "UpdateConfig": _UPDATE,
    "RollbackConfig": _UPDATE,
}
_WITHIN: Final = ("TaskTemplate", "ContainerSpec")  # filled field by field; the others are there or are not


def filled(spec: JsonObject, defaults: JsonObject = _SPEC) -> JsonObject:
    """The spec with what it lacks."""
    found = dict(spec)
    for key, default in defaults.items():
        value = found.get(key)
        if value is None:
            found[key] = default
        elif key in _WITHIN and isinstance(value, Mapping) and isinstance(default, Mapping):
            found[key] = filled(value, default)
    return found
