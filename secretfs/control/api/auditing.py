"""``/secretfs/v1/audit``: what was kept, a part at a time, and whether it is what was written.

``GET audit?after=N&limit=M&seconds=S`` gives records of the rows behind row N, as many whole rows as reach M records;
``Number`` is a record's row. With ``seconds`` it waits that long for one. ``since``, ``until`` (ns since 1970),
``secret``, ``task``, ``service`` leave out others. The header ``Secretfs-Last`` is the last row that was looked at,
whether any of it was asked for: the next ``after``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import trio

from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.native import BASE
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.audit import AuditRecord, rows
from secretfs.control.chain import HEAD
from secretfs.control.usecases.commits import Commits
from secretfs.errors import BadRequestError, UnavailableError

MOST: Final = 5000  # records of an answer
MAX_WAITING: Final = 32  # connections
MAX_SECONDS: Final = 20.0
LAST: Final = "Secretfs-Last"
_FOREVER_NS: Final = 2**63


class AuditRoutes:
    """The routes of the audit."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._store = commits.store
        self._waiting = trio.CapacityLimiter(MAX_WAITING)

    def routes(self) -> Routes:
        """Where they are."""
        return {("GET", f"{BASE}/audit"): self._read, ("GET", f"{BASE}/audit/verify"): self._verify}

    async def _read(self, request: Request, _: str) -> Response:
        after, most = _number(request, "after", -1), min(_number(request, "limit", MOST), MOST)
        seconds = min(_number(request, "seconds", 0), MAX_SECONDS)
        wanted = _Wanted(request.query)
        last, found = await self._found(after, most, wanted)
        if not found and seconds:
            last, found = await self._awaited(last, most, wanted, seconds)
        response = json_response(found)
        return replace(response, headers=(*response.headers, (LAST, str(last)))) if last >= 0 else response

    async def _verify(self, _: Request, __: str) -> Response:
        await self._commits.prepared()
        verdict = await self._commits.chain.verified(self._store)
        return json_response(
            {
                "OK": not verdict.broken,
                "Records": verdict.records,
                "Rows": verdict.rows,
                "Head": verdict.tag.hex(),
                "Broken": verdict.broken,
            }
        )

    async def _found(self, after: int, most: int, wanted: "_Wanted") -> tuple[int, list[dict[str, object]]]:
        """The last row that was looked at, and what is wanted of those."""
        last, found = after, list[dict[str, object]]()
        async for number, row in rows(self._store, after):
            last = number
            found += [_shown(record, number) for record in row if wanted.has(record)]
            if len(found) >= most:
                break
        return last, found

    async def _awaited(
        self, after: int, most: int, wanted: "_Wanted", seconds: float
    ) -> tuple[int, list[dict[str, object]]]:
        """As _found, when something wanted is there. Raises: UnavailableError when too many wait."""
        try:
            self._waiting.acquire_nowait()
        except trio.WouldBlock:
            raise UnavailableError(f"{MAX_WAITING} others follow the audit: end one of them, or read it now") from None
        try:
            last, found = after, list[dict[str, object]]()
            with trio.move_on_after(seconds):
                while True:
                    rev = (await self._store.list(HEAD, limit=1)).rev
                    last, found = await self._found(last, most, wanted)
                    if found:
                        break
                    await self._store.watch(HEAD, rev)
            return last, found
        finally:
            self._waiting.release()


class _Wanted:
    """What is asked for; all of it must fit."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._since, self._until = _ns(query, "since", 0), _ns(query, "until", _FOREVER_NS)
        self._secret, self._task, self._service = (query.get(key, "") for key in ("secret", "task", "service"))

    def has(self, record: AuditRecord) -> bool:
        return (
            self._since <= record.time_ns < self._until
            and (not self._secret or self._names(record, self._secret, ("secret", "config"), "Secret"))
            and (not self._task or self._names(record, self._task, ("task",), "Task"))
            and (not self._service or self._of_service(record))
        )

    def _of_service(self, record: AuditRecord) -> bool:
        """Tasks bear the name of their service."""
        of_task = record.kind == "task" and record.name == self._service
        return of_task or self._names(record, self._service, ("service",), "Service")

    def _names(self, record: AuditRecord, reference: str, kinds: tuple[str, ...], key: str) -> bool:
        """By name, or by id or the start of it."""
        if record.kind in kinds and (record.name == reference or record.id.startswith(reference)):
            return True
        value = record.detail.get(key)
        return isinstance(value, str) and (value == reference or (key == "Task" and value.startswith(reference)))


def _shown(record: AuditRecord, number: int) -> dict[str, object]:
    return {
        "Time": rfc3339(record.time_ns),
        "Action": record.action,
        "Kind": record.kind,
        "ID": record.id,
        "Name": record.name,
        "UID": record.uid,
        "PID": record.pid,
        "Detail": record.detail,
        "Number": number,
    }


def _number(request: Request, key: str, default: int) -> int:
    text = request.query.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadRequestError(f"invalid {key} {text!r}: it must be a whole number")
    return int(text)


def _ns(query: Mapping[str, str], key: str, default: int) -> int:
    text = query.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadRequestError(f"invalid {key} {text!r}: it must be in nanoseconds since 1970")
    return int(text)
