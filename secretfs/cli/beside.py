"""``Spec.Secretfs`` of a service: what Docker's spec has no place for. Rule: an update keeps what no flag names."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable

from secretfs.cli import answers
from secretfs.errors import InvalidArgumentError, UsageError

KEY = "Secretfs"


def pins_of(requests: "Iterable[GrantRequest]") -> list[object]:
    """The pins of grants that name a version."""
    return [
        {"Kind": request.kind.value, "Target": request.target, "Version": request.version}
        for request in requests
        if request.version is not None
    ]


def kept_pins(spec: object, kind: "Kind", references: Iterable[object]) -> list[object]:
    """The pins that the spec has, but for those of this kind whose references are gone."""
    from secretfs.core.grant import parse_target

    targets = {parse_target(answers.text(reference, "File", "Name"), kind) for reference in references}
    return [
        pin
        for pin in answers.items(spec, KEY, "Pins")
        if answers.text(pin, "Kind") != kind.value or answers.text(pin, "Target") in targets
    ]


def add_on_change(parser: ArgumentParser) -> None:
    """Add ``--on-change``."""
    parser.add_argument(
        "--on-change",
        metavar="ACT",
        help="what its tasks get when their secrets have changed: signal:NAME or exec:COMMAND; empty for nothing",
    )


def on_change(arguments: Namespace) -> dict[str, str]:
    """The field, if the flag was given. Raises: UsageError."""
    if arguments.on_change is None:
        return {}
    from secretfs.core.onchange import parse_on_change

    try:
        parse_on_change(arguments.on_change)
    except InvalidArgumentError as exc:
        raise UsageError(f'invalid argument "{arguments.on_change}" for "--on-change" flag: {exc}') from None
    return {"OnChange": arguments.on_change}


def put(spec: dict[str, object], **fields: object) -> None:
    """Set fields of the key, such as ``Pins``; leave the others as they are."""
    before = spec.get(KEY)
    spec[KEY] = (before if isinstance(before, dict) else {}) | fields


TYPE_CHECKING = False
if TYPE_CHECKING:
    from secretfs.core.grant import GrantRequest
    from secretfs.core.names import Kind
