"""``--secret`` and ``--config`` of a service, as Docker's API has them. Rule: docker's: a secret is named by its exact
name, and is looked up first.
"""

import json

from secretfs.cli import answers
from secretfs.cli.client import Client
from secretfs.cli.objects import WITHOUT_DATA
from secretfs.core.grant import GrantRequest, check_duplicates, parse_grant
from secretfs.core.names import Kind
from secretfs.errors import InvalidGrantError, NotFoundError, UsageError


def parse_flags(flags: list[str], flag: str, kind: Kind) -> list[GrantRequest]:
    """The grants that the flag's values name. Raises: UsageError, with docker's text; InvalidGrantError."""
    requests = []
    for text in flags:
        try:
            request = parse_grant(text, kind)
        except InvalidGrantError as exc:
            raise UsageError(f'invalid argument "{text}" for "{flag}" flag: {exc}') from None
        requests.append(request)
    check_duplicates(requests)
    return requests


def references(client: Client, requests: list[GrantRequest], kind: Kind) -> list[object]:
    """The references of a ContainerSpec to secrets or configs, in the order of the requests.

    Raises: NotFoundError, for one that is not there.
    """
    names = {"name": {request.source: True for request in requests}}
    query = {"filters": json.dumps(names), **WITHOUT_DATA[kind.value]}
    found = client.get(f"/{kind.value}s", query)
    ids = {answers.text(item, "Spec", "Name"): answers.text(item, "ID") for item in answers.items(found)}
    return [_reference(request, ids) for request in requests]


def _reference(request: GrantRequest, ids: dict[str, str]) -> object:
    noun, word = request.kind.value, request.kind.value.capitalize()
    if request.source not in ids:
        failure = NotFoundError(f"{noun} not found: {request.source}")
        failure.add_note(f"see 'secretfs {noun} ls'")
        raise failure
    return {
        "File": {"Name": request.target, "UID": request.uid, "GID": request.gid, "Mode": request.mode},
        f"{word}ID": ids[request.source],
        f"{word}Name": request.source,
    }
