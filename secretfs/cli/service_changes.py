"""``secretfs service create`` and ``update``: from flags to Docker's spec.

An update reads the service, changes what the flags name and nothing else, and posts it with the version that was read:
of two at once, one is told so. Rule: all grants are checked before anything is posted.
"""

from argparse import Namespace
from collections.abc import Mapping

from secretfs.cli import allowed, answers, beside, output
from secretfs.cli.client import Client, encoded, quoted
from secretfs.cli.commands import client_of
from secretfs.cli.grants import parse_flags, references
from secretfs.cli.labels import parse_labels
from secretfs.core.names import Kind
from secretfs.errors import InvalidArgumentError, OutOfSequenceError


def create(arguments: Namespace) -> int:
    """Create the service; print its id."""
    labels = parse_labels(arguments.label, flag="-l, --label")
    if not arguments.name:
        raise InvalidArgumentError("name must be provided")  # the daemon would make one up, as docker's does
    client = client_of(arguments)
    container: dict[str, object] = {}
    pins = []
    for kind, (flags, flag) in _granted(arguments, "").items():
        container[_key(kind)], pinned = _references(client, flags, flag, kind)
        pins += pinned
    spec = {
        "Name": arguments.name,
        "Labels": labels,
        "TaskTemplate": {"ContainerSpec": container},
        "Mode": {"Replicated": {"Replicas": 1}},
        beside.KEY: {"Pins": pins, **allowed.fields(None, arguments), **beside.on_change(arguments)},
    }
    answer = client.post("/services/create", encoded(spec))
    output.line(answers.text(answer, "ID"))
    _print_warnings(answer)
    return 0


def update(arguments: Namespace) -> int:
    """Change the service; print it as it was named."""
    labels = parse_labels(arguments.label_add, flag="--label-add")
    client = client_of(arguments)
    service = fetched(client, arguments.service)
    spec = answers.at(service, "Spec")
    if not isinstance(spec, dict):
        raise InvalidArgumentError(f"service {arguments.service} has no spec")
    kept = answers.labels(spec, "Labels")
    spec["Labels"] = {key: value for key, value in kept.items() if key not in arguments.label_rm} | labels
    beside.put(spec, **allowed.fields(spec, arguments), **beside.on_change(arguments))
    notes: list[str] = []
    for kind, (flags, flag) in _granted(arguments, "_add").items():
        left, missed = _left(_granted_before(spec, kind), getattr(arguments, f"{kind.value}_rm"), kind)
        notes += [
            f"service {arguments.service} is not granted {kind.value} {name}: nothing was taken" for name in missed
        ]
        added, pins = _references(client, flags, flag, kind)
        beside.put(spec, Pins=[*beside.kept_pins(spec, kind, left), *pins])
        _put(spec, ("TaskTemplate", "ContainerSpec", _key(kind)), [*left, *added])
    answer = _posted(client, service, spec)
    output.line(arguments.service)
    for text in notes:
        output.warning(text, [f"secretfs service inspect --pretty {arguments.service}"])
    _print_warnings(answer)
    return 0


def fetched(client: Client, reference: str) -> object:
    """The service. Raises: InvalidArgumentError, for an empty reference; NotFoundError."""
    if not reference:
        raise InvalidArgumentError("invalid service name or ID: value is empty")
    return client.get(f"/services/{quoted(reference)}")


def _granted(arguments: Namespace, ending: str) -> Mapping[Kind, tuple[list[str], str]]:
    """For each kind the values of its flag, such as ``--secret-add``, and the flag."""
    words = {kind: f"{kind.value}{ending}" for kind in Kind}
    return {kind: (getattr(arguments, word), f"--{word.replace('_', '-')}") for kind, word in words.items()}


def _word(kind: Kind) -> str:
    return kind.value.capitalize()


def _key(kind: Kind) -> str:
    return f"{_word(kind)}s"


def _granted_before(spec: object, kind: Kind) -> list[object]:
    return answers.items(spec, "TaskTemplate", "ContainerSpec", _key(kind))


def _left(granted: list[object], removed: list[str], kind: Kind) -> tuple[list[object], list[str]]:
    """The grants that no name and no id takes away, and the names that take none. Names have no case: who revokes by
    another spelling, or by the id, must not leave the grant there.
    """
    missed = {name.lower(): name for name in removed}
    left = []
    for item in granted:
        names = {answers.text(item, f"{_word(kind)}{key}").lower() for key in ("Name", "ID")}
        if names.isdisjoint(name.lower() for name in removed):
            left.append(item)
        for name in names:
            missed.pop(name, None)
    return left, list(missed.values())


def _references(client: Client, flags: list[str], flag: str, kind: Kind) -> tuple[list[object], list[object]]:
    """The grants as Docker's API has them, and their pins. Raises: UsageError for a value that is none;
    NotFoundError.
    """
    if not flags:
        return [], []
    requests = parse_flags(flags, flag, kind)
    return references(client, requests, kind), beside.pins_of(requests)


def _posted(client: Client, service: object, spec: object) -> object:
    version = str(answers.number(service, "Version", "Index"))
    path = f"/services/{quoted(answers.text(service, 'ID'))}/update"
    try:
        return client.post(path, encoded(spec), {"version": version})
    except OutOfSequenceError as exc:
        exc.add_note("somebody else has changed the service meanwhile: run the command again")
        raise


def _put(spec: dict[str, object], path: tuple[str, ...], value: object) -> None:
    """Set what lies at the path, making the maps on the way."""
    for key in path[:-1]:
        inner = spec.get(key)
        if not isinstance(inner, dict):
            inner = spec[key] = {}
        spec = inner
    spec[path[-1]] = value


def _print_warnings(answer: object) -> None:
    for text in answers.items(answer, "Warnings"):
        output.warning(str(text))
