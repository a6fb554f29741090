"""``ls``, ``ps``: rows and how they are shown. Rule: what docker's formatter does (cli/command/formatter).

No format or ``table``: the columns; ``-q`` without a format: ids; ``json``: an object a line; else a
template, and with ``table `` before it a template with a header.
"""

import re
from collections.abc import Mapping, Sequence

from secretfs.cli import output


class Row:
    """One line of a listing: what each placeholder shows."""

    __slots__ = ("fields", "labels", "type_name")

    def __init__(self, type_name: str, fields: Mapping[str, str], labels: Mapping[str, str]) -> None:
        self.type_name = type_name  # what a template error calls it
        self.fields = fields
        self.labels = labels


class Columns:
    """What a listing can show: the headers of all placeholders, and which of them are the table."""

    __slots__ = ("headers", "key", "shown", "type_name")

    def __init__(self, type_name: str, headers: Mapping[str, str], shown: Sequence[str], *, key: str = "ID") -> None:
        self.type_name = type_name
        self.headers = headers
        self.shown = shown
        self.key = key  # what -q prints

    def row(self, fields: Mapping[str, str], labels: Mapping[str, str] | None = None) -> Row:
        """A row; its labels, if it can have any, are a placeholder too."""
        if labels is None:
            return Row(self.type_name, fields, {})
        shown = ",".join(f"{key}={value}" for key, value in labels.items())
        return Row(self.type_name, {**fields, "Labels": shown}, labels)


def show(rows: Sequence[Row], columns: Columns, *, form: str | None, quiet: bool) -> None:
    """Print the rows. Raises: InvalidArgumentError, for a template that cannot be one or does not fit."""
    if form in (None, "", "table"):
        if quiet:
            for row in rows:
                output.line(row.fields[columns.key])
            return
        shown = [[row.fields[name] for name in columns.shown] for row in rows]
        output.table([[columns.headers[name] for name in columns.shown], *shown])
    elif form == "json":
        for row in rows:
            output.line(output.compact(dict(sorted(row.fields.items()))))
    else:
        from secretfs.cli.template import listed

        output.template(listed(form or "", rows, columns.headers))


def by_name(name: str) -> tuple[tuple[int, int, str], ...]:
    """What sorts names in natural order: ``p2`` before ``p10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts)
