"""``--filter``. Rule: the command line checks the form only; what a filter means, and which there are, is
the daemon's.
"""

import json
from collections.abc import Iterable

from secretfs.errors import UsageError


def query(flags: Iterable[str]) -> dict[str, str]:
    """The query of a listing for the values of ``--filter``: none without filters.

    Raises: UsageError, with docker's text.
    """
    filters: dict[str, dict[str, bool]] = {}
    for flag in flags:
        key, equals, value = flag.partition("=")
        if not equals:
            raise UsageError(
                f'invalid argument "{flag}" for "-f, --filter" flag: bad format of filter (expected name=value)'
            )
        filters.setdefault(key.strip().lower(), {})[value.strip()] = True
    return {"filters": json.dumps(filters)} if filters else {}
