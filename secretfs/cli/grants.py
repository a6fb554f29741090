"""``--secret`` of a service, as Docker's API has it. Rule: docker's: a secret is named by its exact name,
and is looked up first.
"""

import json

from secretfs.cli import answers
from secretfs.cli.client import Client
from secretfs.core.grant import GrantRequest, check_duplicates, parse_grant
from secretfs.core.names import Kind
from secretfs.errors import InvalidGrantError, NotFoundError, UsageError


def parse_flags(flags: list[str], flag: str) -> list[GrantRequest]:
    """The grants that the flag's values name. Raises: UsageError, with docker's text; InvalidGrantError."""
    requests = []
    for text in flags:
        try:
            request = parse_grant(text, Kind.SECRET)
        except InvalidGrantError as exc:
            raise UsageError(f'invalid argument "{text}" for "{flag}" flag: {exc}') from None
        requests.append(request)
    check_duplicates(requests)
    return requests


def references(client: Client, requests: list[GrantRequest]) -> list[object]:
    """The secret references of a ContainerSpec, in the order of the requests.

    Raises: NotFoundError, for a secret that is not there.
    """
    names = {"name": {request.source: True for request in requests}}
    found = client.get("/secrets", {"filters": json.dumps(names)})
    ids = {answers.text(item, "Spec", "Name"): answers.text(item, "ID") for item in answers.items(found)}
    return [_reference(request, ids) for request in requests]


def _reference(request: GrantRequest, ids: dict[str, str]) -> object:
    if request.source not in ids:
        failure = NotFoundError(f"secret not found: {request.source}")
        failure.add_note("see 'secretfs secret ls'")
        raise failure
    return {
        "File": {"Name": request.target, "UID": request.uid, "GID": request.gid, "Mode": request.mode},
        "SecretID": ids[request.source],
        "SecretName": request.source,
    }
