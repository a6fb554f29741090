"""``--allow-uid`` and ``--allow-gid``: who may begin tasks of a service, besides root. Rule: names are this host's, the
service keeps numbers.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from secretfs.cli import answers, beside
from secretfs.errors import InvalidGrantError, UsageError

_KEYS = {"uid": "AllowUIDs", "gid": "AllowGIDs"}


def add_flags(parser: ArgumentParser, *, removal: bool) -> None:
    """Add the flags; with removal also those that take it back."""
    for kind, metavar, text in (("uid", "USER", "this user"), ("gid", "GROUP", "members of this group")):
        add = parser.add_argument
        add(f"--allow-{kind}", action="append", default=[], metavar=metavar, help=f"let {text} run tasks of it")
        if removal:
            add(f"--allow-{kind}-rm", action="append", default=[], metavar=metavar, help="take that back")


def fields(spec: object, arguments: Namespace) -> dict[str, list[int]]:
    """The fields of ``Spec.Secretfs``, after the flags; spec may be None. Raises: UsageError."""
    return {
        key: sorted(
            ({*numbers(spec, kind)} - {*_numbers(arguments, f"allow_{kind}_rm", kind)})
            | {*_numbers(arguments, f"allow_{kind}", kind)}
        )
        for kind, key in _KEYS.items()
    }


def numbers(spec: object, kind: str) -> list[int]:
    """The ids that a spec lets in; kind is uid or gid."""
    return [number for number in answers.items(spec, beside.KEY, _KEYS[kind]) if isinstance(number, int)]


def _numbers(arguments: Namespace, flag: str, kind: str) -> list[int]:
    return [_number(text, flag, _group if kind == "gid" else _user) for text in getattr(arguments, flag, ())]


def _number(text: str, flag: str, named: Callable[[str], int]) -> int:
    from secretfs.core.grant_syntax import parse_owner_number

    try:
        number = parse_owner_number(text)
        return named(text) if number is None else number
    except (InvalidGrantError, KeyError, ValueError) as exc:
        reason = str(exc) if isinstance(exc, InvalidGrantError) else "this host has none of that name"
        raise UsageError(f'invalid argument "{text}" for "--{flag.replace("_", "-")}" flag: {reason}') from None


def _user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
