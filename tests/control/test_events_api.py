"""Events are told live and, the last of them, afterwards. No listener delays anybody, and none is left behind."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from control_harness import ME, PATIENCE_SECONDS, until
from trio.testing import wait_all_tasks_blocked

from secretfs.control.api.docker.events import MAX_LISTENING
from secretfs.control.api.http import Response
from secretfs.control.api.server import Limits
from secretfs.control.usecases.events import BEHIND, KEPT, Event
from secretfs.core.names import Kind
from secretfs.core.task import TaskEvent

QUICK = Limits(send_seconds=0.1, stop_seconds=0.1, linger_seconds=0.05)


@asynccontextmanager
async def following(client, query=""):
    """The lines of ``/events``, read as they come; entered when the daemon listens."""
    with trio.fail_after(PATIENCE_SECONDS):
        async with await trio.open_unix_socket(client.path) as stream:
            await stream.send_all(f"GET /v1.50/events{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            head, _, rest = data.partition(b"\r\n\r\n")
            assert b"200 OK" in head
            assert b"transfer-encoding: chunked" in head.lower()
            yield Lines(stream, rest)


class Lines:
    def __init__(self, stream, data):
        self._stream, self._data = stream, data

    async def next(self):
        """The next event; None at the end."""
        while (size := self._data.partition(b"\r\n")[0]) == self._data:
            self._data += await self._stream.receive_some()
        count = int(size, 16)
        while len(self._data) < len(size) + 2 + count + 2:
            self._data += await self._stream.receive_some()
        piece = self._data[len(size) + 2 :][:count]
        self._data = self._data[len(size) + 2 + count + 2 :]
        return json.loads(piece) if piece else None


def said(event):
    return event["Type"], event["Action"], event["Actor"]["Attributes"]


async def past(client, control, query=""):
    """The events until now."""
    seconds, ns = divmod(control.commits.now_ns(), 10**9)
    answer = await client("GET", f"/events?until={seconds}.{ns:09d}{query}")
    return [json.loads(line) for line in answer.body.splitlines()]


async def test_what_happens_is_told_at_once(client, control):
    async with following(client) as lines:
        secret_id = await control.secret("s")
        event = await lines.next()
        assert event["Actor"] == {"ID": secret_id, "Attributes": {"name": "s"}}
        assert (event["Type"], event["Action"], event["scope"]) == ("secret", "create", "swarm")
        assert event["timeNano"] // 10**9 == event["time"]
        await control.service("web", "s")
        assert said(await lines.next()) == ("service", "create", {"name": "web"})
        task = (await control.attach("web")).task
        pid = str(task.leader.pid)
        assert said(await lines.next()) == ("task", "create", {"name": "web", "pid": pid})
        await control.tasks.running(task.id, 5)
        assert said(await lines.next()) == ("task", "start", {"name": "web", "pid": pid})
        await control.tasks.detach(task.id, "its last process ended", event=TaskEvent.ENDED)
        reason = {"reason": "its last process ended"}
        assert said(await lines.next()) == ("task", "die", {"name": "web", "pid": pid} | reason)
        await control.services.remove(ME, "web")
        assert said(await lines.next()) == ("service", "remove", {"name": "web"})
        await control.secrets.remove(ME, Kind.SECRET, "s")
        assert said(await lines.next()) == ("secret", "remove", {"name": "s"})


async def test_what_changes_of_a_service_is_told_as_docker_tells_it(client, control):
    def spec(image, replicas):
        mode = {"Replicated": {"Replicas": replicas}}
        return {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": image}}, "Mode": mode}

    await client("POST", "/services/create", spec("a", 1))
    rev = (await control.services.inspect("web")).rev
    async with following(client) as lines:
        await client("POST", f"/services/web/update?version={rev}", spec("b", 2))
        changes = {"image.old": "a", "image.new": "b", "replicas.old": "1", "replicas.new": "2"}
        assert said(await lines.next()) == ("service", "update", {"name": "web"} | changes)


async def test_a_task_without_a_service_is_no_news_for_dockers_clients(client, control):
    await control.secret("s")
    async with following(client) as lines:
        await control.attach(None, "s")
        await control.secret("t")
        assert said(await lines.next()) == ("secret", "create", {"name": "t"})


async def test_only_the_last_events_are_kept(client, control):
    for number in range(KEPT + 3):
        await control.secret(f"s{number}")
    names = [said(event)[2]["name"] for event in await past(client, control)]
    assert names == [f"s{number}" for number in range(3, KEPT + 3)]


FILTERED = {
    '{"type":{"secret":true}}': ["a", "b"],
    '{"type":["secret","config"]}': ["a", "b", "c"],
    '{"event":["remove"]}': ["a"],
    '{"secret":["b"]}': ["b"],
    '{"secret":["x"]}': [],
    '{"config":["c"],"type":["secret"]}': [],
    '{"scope":["local"]}': [],
    '{"scope":["swarm"],"label":["name=c"]}': ["c"],
    '{"label":["nope"]}': [],
    '{"image":["x"]}': [],
}


@pytest.mark.parametrize(("filters", "names"), FILTERED.items())
async def test_filters_of_one_key_are_alternatives_and_of_several_must_all_fit(client, control, filters, names):
    await control.secret("a")
    await control.secret("b")
    await client("POST", "/configs/create", {"Name": "c", "Data": "eA=="})
    await control.secrets.remove(ME, Kind.SECRET, "a")
    found = await past(client, control, f"&since=1&filters={filters}")
    assert sorted({said(event)[2]["name"] for event in found}) == names


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("since=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("until=1.x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("since=5&until=1", "`since` time (5) cannot be after `until` time (1)"),
    ],
)
async def test_a_time_that_is_none_is_refused_in_dockers_words(client, query, text):
    answer = await client("GET", f"/events?{query}")
    assert (answer.status, answer.message) == (400, text)


async def test_a_listener_that_hangs_up_is_forgotten(client, control):
    async with following(client):
        assert len(control.commits.events._listeners) == 1
    await until(lambda: not control.commits.events._listeners)


async def test_there_is_a_number_of_listeners_and_others_are_told_so(client, nursery, control):
    async def listen(*, task_status):
        async with following(client):
            task_status.started()
            await trio.sleep_forever()

    async with trio.open_nursery() as listeners:
        for _ in range(MAX_LISTENING):
            await listeners.start(listen)
        answer = await client("GET", "/events")
        assert (answer.status, answer.message) == (503, "32 others follow the events: end one of them")
        assert (await client("GET", "/version")).status == 200
        listeners.cancel_scope.cancel()
    await until(lambda: not control.commits.events._listeners)


async def test_a_listener_that_takes_nothing_is_let_go_and_costs_nobody_anything(control):
    with control.commits.events.listening() as (_, heard):
        for number in range(BEHIND + 1):
            control.commits.events.tell(Event(number, "secret", "create", f"id{number}", f"s{number}"))
        assert len([event async for event in heard]) == BEHIND
    assert not control.commits.events._listeners


async def test_a_client_that_reads_nothing_is_cut_off(serving):
    ended = trio.Event()

    async def endless(write):
        try:
            while True:
                await write(bytes(100_000))
        finally:
            ended.set()

    async def handler(_):
        return Response(200, stream=endless)

    client = await serving(handler, QUICK)
    async with await trio.open_unix_socket(client.path) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.fail_after(PATIENCE_SECONDS):
            await ended.wait()


async def test_a_server_that_stops_ends_its_streams_at_once(serving):
    async def silent(write):
        await write(b"")
        await trio.sleep_forever()

    async def handler(_):
        return Response(200, stream=silent)

    stop = trio.Event()
    client = await serving(handler, replace(QUICK, stop_seconds=60), stop)
    async with await trio.open_unix_socket(client.path) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 OK")
        await wait_all_tasks_blocked()
        stop.set()
        with trio.fail_after(PATIENCE_SECONDS):
            assert await stream.receive_some() == b""
