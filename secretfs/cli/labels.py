"""``--label``. Rule: docker's (opts/opts.go, ValidateLabel): a key without blanks; the last of one key
counts.
"""

from collections.abc import Iterable

from secretfs.errors import UsageError


def parse_labels(flags: Iterable[str], *, flag: str) -> dict[str, str]:
    """The labels that the values of the flag make. Raises: UsageError, with docker's text."""
    labels: dict[str, str] = {}
    for label in flags:
        key, _, value = label.partition("=")
        reason = _wrong(key, label)
        if reason:
            raise UsageError(f'invalid argument "{label}" for "{flag}" flag: {reason}')
        labels[key] = value
    return labels


def _wrong(key: str, label: str) -> str | None:
    if not key.strip():
        return f"invalid label '{label}': empty name"
    if any(char.isspace() for char in key):
        return f"label '{key}' contains whitespaces"
    return None
