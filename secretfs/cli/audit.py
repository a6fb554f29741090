"""``secretfs audit``. Rule: every record that is asked for, the oldest first, and none twice; JSON is the record as it
is kept, the table is a part of it.
"""

import re
import time
from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator

from secretfs.cli import answers, output, times
from secretfs.cli.client import Client
from secretfs.cli.commands import client_of
from secretfs.cli.parser import CommandParser, examples
from secretfs.errors import UnavailableError, UsageError

_HEADER = ("TIME", "ACTION", "NAME", "ID", "UID", "PID", "DETAIL")
_PATH = "/secretfs/v1/audit"
_ROUND_SECONDS = 15  # below the silence that a connection may have
_PAUSE_SECONDS = 0.5  # while the daemon is away
_BROKEN = 1
_UNIX = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?")


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``audit``."""
    parser = commands.add_parser(
        "audit",
        help="show who did what, and who opened what",
        description="Show every change, attach, detach, refusal and open, the oldest first: when, what, by which user\n"
        "and process. 'secretfs audit verify' finds out whether a record was changed, removed or put in.",
        epilog=examples(
            "secretfs audit --since 10m --secret my_secret",
            "secretfs audit --follow --format json",
            "secretfs audit --format '{{.Time}} {{.Action}} {{.Name}} {{.UID}}'",
            "secretfs audit verify",
        ),
    )
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on with what comes, until interrupted")
    add("--since", metavar="TIME", help="from then on: 10m (ago), RFC 3339, or seconds since 1970")
    add("--until", metavar="TIME", help="up to then")
    add("--secret", metavar="SECRET", help="of this secret or config only, by its name or id")
    add("--service", metavar="SERVICE", help="of this service only, by its name or id")
    add("--task", metavar="TASK", help="of this task only, by its id or the start of it")
    add("-n", "--tail", metavar="N", help="the last N only")
    add("--format", metavar="FORMAT", help="table, json (an object a line) or a Go template")
    add("verify", nargs="?", choices=["verify"], metavar="verify", help="check that it is what was written")
    parser.set_defaults(handler=audit)


def audit(arguments: Namespace) -> int:
    """Print the records, or whether they are what was written."""
    if arguments.verify:
        return _verify(client_of(arguments))
    query = _query(arguments)
    records = _Records(client_of(arguments), query)
    most = _tail(arguments.tail)
    _Printer(arguments.format).show(records.kept(most), first=True)
    while arguments.follow:
        _Printer(arguments.format).show(records.next(), first=False)
    return 0


def _verify(client: Client) -> int:
    verdict = client.get(f"{_PATH}/verify")
    count, head = answers.number(verdict, "Records"), answers.text(verdict, "Head")
    if broken := answers.text(verdict, "Broken"):
        output.error(f"the audit is not what was written: {broken} ({count} records before it are)")
        return _BROKEN
    output.line(f"ok: {count} records, head {head}")
    return 0


class _Records:
    """The records behind those that were looked at, whether they were asked for."""

    def __init__(self, client: Client, query: dict[str, str]) -> None:
        self._client = client
        self._query = query
        self._after = ""

    def kept(self, most: int | None) -> Iterator[object]:
        """All that are there; with ``most``, the last of them."""
        if most is None:
            yield from self._all()
        else:
            from collections import deque

            yield from deque(self._all(), most)

    def next(self) -> list[object]:
        """What has come, as soon as something has. A daemon that is away is asked until it is back."""
        while True:
            try:
                return self._page({"seconds": str(_ROUND_SECONDS)})
            except UnavailableError:
                time.sleep(_PAUSE_SECONDS)

    def _all(self) -> Iterator[object]:
        while page := self._page({}):
            yield from page

    def _page(self, more: dict[str, str]) -> list[object]:
        after = {"after": self._after} if self._after else {}
        answer, last = self._client.get_part(_PATH, self._query | after | more)
        page = answers.items(answer)
        if page and not last:
            last = str(answers.number(page[-1], "Number"))
        if not last or last == self._after:
            return []  # nothing, or an answer that does not go on
        self._after = last
        return page


class _Printer:
    """Prints records as they come, but for a table, whose columns need all of them."""

    def __init__(self, form: str | None) -> None:
        self._form = form

    def show(self, records: "Iterator[object] | list[object]", *, first: bool) -> None:
        """Print them; ``first``: a table has its header."""
        form = self._form
        if form in (None, "", "table"):
            output.table([*([_HEADER] if first else []), *(_cells(record) for record in records)])
        elif form == "json":
            for record in records:
                output.line(output.compact(record))
        else:
            from secretfs.cli.template import parsed, rendered

            template = parsed(str(form))
            for record in records:
                output.template(rendered(template, record) + "\n")
        output.flush()


def _query(arguments: Namespace) -> dict[str, str]:
    query = {key: getattr(arguments, key) for key in ("secret", "service", "task") if getattr(arguments, key)}
    for key in ("since", "until"):
        if text := getattr(arguments, key):
            query[key] = str(_moment(text, f"--{key}"))
    return query


def _moment(text: str, flag: str) -> int:
    """Ns since 1970. Raises: UsageError."""
    from secretfs.cli.durations import seconds

    if match := _UNIX.fullmatch(text):
        return int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))
    stamp = times.nanoseconds(text)
    if stamp is not None:
        return max(stamp, 0)
    try:
        return max(time.time_ns() - int(seconds(text, flag=flag) * 10**9), 0)
    except UsageError:
        raise UsageError(f'invalid argument "{text}" for "{flag}" flag: 10m, an RFC 3339 time, or a number') from None


def _tail(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UsageError(f'invalid argument "{text}" for "-n, --tail" flag: it must be a whole number')
    return int(text)


def _cells(record: object) -> tuple[str, ...]:
    detail = answers.at(record, "Detail")
    pairs = detail.items() if isinstance(detail, dict) else ()
    return (
        answers.text(record, "Time"),
        answers.text(record, "Action"),
        answers.text(record, "Name"),
        answers.text(record, "ID"),
        str(answers.number(record, "UID")),
        str(answers.number(record, "PID")),
        " ".join(f"{key}={_detail(value)}" for key, value in pairs),
    )


def _detail(value: object) -> str:
    match value:
        case str():
            return value
        case list():
            return ",".join(_detail(item) for item in value)
    return output.compact(value)
