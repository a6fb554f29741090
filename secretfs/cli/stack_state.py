"""What the daemon has of a stack, before a deploy. Rule: looked at once, before anything is changed."""

import json
from collections.abc import Iterable

from secretfs.cli import answers, filters
from secretfs.cli.client import Client
from secretfs.cli.objects import WITHOUT_DATA
from secretfs.cli.stack_names import NAMESPACE, filter_of
from secretfs.core.compose.build import Stack
from secretfs.core.names import Kind, folded
from secretfs.errors import AlreadyExistsError, NotFoundError

_NAMES_AT_ONCE = 100  # the head of a request is bounded


class StackState:
    """Secrets and configs by name, services of the stack by name, as the daemon shows them."""

    def __init__(self, client: Client, stack: Stack) -> None:
        self._stack = stack
        self._objects = {kind: _objects(client, kind, _names(stack, kind)) for kind in Kind}
        self.services = {answers.text(item, "Spec", "Name"): item for item in of_stack(client, "services", stack.name)}

    def check(self) -> None:
        """Refuse a stack that needs what is not there, or would change what is another's.

        Raises: NotFoundError, with docker's text; AlreadyExistsError.
        """
        for service in self._stack.services:
            for request in service.grants:
                if (request.kind, request.source) in self._stack.external:
                    self._check_there(service.key, request.kind, request.source)
        for each in self._stack.objects:
            found = self.object(each.kind, each.name)
            if found is not None and answers.labels(found, "Spec", "Labels").get(NAMESPACE) != self._stack.name:
                failure = AlreadyExistsError(
                    f"{each.kind.value} {each.name} is there already, and is not of stack {self._stack.name}"
                )
                failure.add_note(f"to grant it as it is: external: true; else another name: for {each.key}")
                raise failure

    def object(self, kind: Kind, name: str) -> object | None:
        """The secret or config of this name, in any case; None if there is none."""
        return self._objects[kind].get(folded(name))

    def _check_there(self, service: str, kind: Kind, name: str) -> None:
        found = self.object(kind, name)
        if found is None or answers.text(found, "Spec", "Name") != name:
            failure = NotFoundError(f"service {service}: {kind.value} not found: {name}")
            failure.add_note(f"it is external: create it with 'secretfs {kind.value} create {name} FILE'")
            raise failure


def of_stack(client: Client, path: str, stack: str, **query: str) -> list[object]:
    """The services, secrets or configs that have the stack's label."""
    return answers.items(client.get(f"/{path}", {**filters.query([filter_of(stack)]), **query}))


def _names(stack: Stack, kind: Kind) -> set[str]:
    own = {each.name for each in stack.objects if each.kind is kind}
    return own | {name for of, name in stack.external if of is kind}


def _objects(client: Client, kind: Kind, names: Iterable[str]) -> dict[str, object]:
    """Those of these names, and of names that begin so."""
    ordered = sorted(names)
    found = [
        item
        for at in range(0, len(ordered), _NAMES_AT_ONCE)
        for item in _listed(client, kind, ordered[at : at + _NAMES_AT_ONCE])
    ]
    return {folded(answers.text(item, "Spec", "Name")): item for item in found}


def _listed(client: Client, kind: Kind, names: list[str]) -> list[object]:
    query = {"filters": json.dumps({"name": dict.fromkeys(names, True)}), **WITHOUT_DATA[kind.value]}
    return answers.items(client.get(f"/{kind.value}s", query))
