"""``secretfs stack rm``. Rule: docker's: all that has the stack's label goes, services first; what cannot go is said,
and the rest goes.
"""

from argparse import Namespace

from secretfs.cli import answers, output
from secretfs.cli.client import Client
from secretfs.cli.commands import REFUSED, client_of
from secretfs.cli.objects import WITHOUT_DATA
from secretfs.cli.stack_names import check_name
from secretfs.cli.stack_state import of_stack
from secretfs.errors import NotFoundError, SecretfsError, UnavailableError

_PATHS = {"service": "services", "secret": "secrets", "config": "configs", "network": "networks"}


def remove(arguments: Namespace) -> int:
    """Remove the stacks; print what is gone."""
    for name in arguments.stack:
        check_name(name)
    client = client_of(arguments)
    return max(_remove(client, name) for name in arguments.stack)


def _remove(client: Client, stack: str) -> int:
    found = {noun: _found(client, noun, stack) for noun in _PATHS}
    if not any(found.values()):
        output.progress(f"Nothing found in stack: {stack}")
        return 0
    kept = [noun for noun, items in found.items() for item in items if not _removed(client, noun, item)]
    if kept:
        output.error(f"failed to remove some resources from stack: {stack}")
    return REFUSED if kept else 0


def _found(client: Client, noun: str, stack: str) -> list[object]:
    try:
        return sorted(of_stack(client, _PATHS[noun], stack, **WITHOUT_DATA.get(noun, {})), key=_name)
    except NotFoundError:  # networks are docker's, and a daemon may know of none
        return []


def _removed(client: Client, noun: str, item: object) -> bool:
    name = _name(item)
    object_id = answers.text(item, "ID") or answers.text(item, "Id")
    try:
        client.delete(f"/{_PATHS[noun]}/{object_id}")
    except UnavailableError:
        raise
    except NotFoundError:  # somebody else was quicker
        return True
    except SecretfsError as exc:
        output.error(f"failed to remove {noun} {name}: {exc}")
        return False
    output.line(f"Removing {noun} {name}")
    return True


def _name(item: object) -> str:
    """A network has it in another place."""
    return answers.text(item, "Spec", "Name") or answers.text(item, "Name")
