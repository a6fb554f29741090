"""Which objects a list shows. Rule (Docker's): names and ids are alternatives to each other, labels must all
be there.

``name`` and ``id`` are prefixes, ``names`` is a whole name; names are compared without regard to case.
``label=k`` and ``label=k=``
ask for the key, ``label=k=v`` for the pair.
"""

from collections.abc import Mapping

from secretfs.core.names import folded
from secretfs.errors import BadRequestError

Filters = Mapping[str, tuple[str, ...]]


def check_keys(filters: Filters, accepted: frozenset[str]) -> None:
    """Refuse a key that the list does not have. Raises: BadRequestError, with Docker's text."""
    for key in filters:
        if key not in accepted:
            raise BadRequestError(f"invalid filter '{key}'")


def matches(filters: Filters, *, name: str, object_id: str, labels: Mapping[str, str]) -> bool:
    """Whether an object of this name, id and labels is asked for."""
    return _named(filters, name, object_id) and labelled(filters.get("label", ()), labels)


def labelled(wanted: tuple[str, ...], labels: Mapping[str, str]) -> bool:
    """Whether the labels have all that is wanted."""
    return all(_has(labels, *text.partition("=")[::2]) for text in wanted)


def _has(labels: Mapping[str, str], key: str, value: str) -> bool:
    return key in labels and value in ("", labels[key])


def _named(filters: Filters, name: str, object_id: str) -> bool:
    alternatives = [
        *(folded(name).startswith(folded(prefix)) for prefix in filters.get("name", ())),
        *(folded(name) == folded(whole) for whole in filters.get("names", ())),
        *(object_id.startswith(prefix) for prefix in filters.get("id", ())),
    ]
    return any(alternatives) if alternatives else True
