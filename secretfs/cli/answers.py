"""Reading the daemon's JSON. Rule: a part that is missing, or of another type, reads as nothing, never as an
error.

A newer daemon may leave a field out; a listing then shows a blank, as docker's does.
"""


def at(value: object, *keys: str) -> object:
    """What lies under the keys, or None."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: object, *keys: str) -> str:
    """The text under the keys, or none."""
    found = at(value, *keys)
    return found if isinstance(found, str) else ""


def number(value: object, *keys: str) -> int:
    """The number under the keys, or 0."""
    found = at(value, *keys)
    return found if isinstance(found, int) else 0


def items(value: object, *keys: str) -> list[object]:
    """The list under the keys, or an empty one: Go writes an empty list as null."""
    found = at(value, *keys)
    return found if isinstance(found, list) else []


def labels(value: object, *keys: str) -> dict[str, str]:
    """The map of texts under the keys, or an empty one."""
    found = at(value, *keys)
    if not isinstance(found, dict):
        return {}
    return {key: item for key, item in found.items() if isinstance(item, str)}
