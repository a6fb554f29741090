"""Whatever a client does ends within a deadline, and the next client is served."""

import contextlib
import os
import socket
from dataclasses import replace
from functools import partial

import pytest
import trio
from control_harness import parsed
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from secretfs.control.api import server
from secretfs.control.api.http import Request, Response, Write, json_response
from secretfs.control.api.server import Limits

QUICK = Limits(
    idle_seconds=0.2, head_seconds=0.1, body_seconds=0.1, send_seconds=0.1, linger_seconds=0.05, stop_seconds=0.1
)


async def echo(request: Request) -> Response:
    return json_response(
        {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "size": len(request.body),
            "uid": request.peer.uid,
            "pid": request.peer.pid,
        }
    )


async def test_a_request_is_answered_with_who_asked(serving):
    client = await serving(echo)
    answer = await client("POST", "/a/b?x=1&x=2&y=", b"12345")
    assert answer.status == 200
    assert answer.json == {
        "method": "POST",
        "path": "/a/b",
        "query": {"x": "1", "y": ""},
        "size": 5,
        "uid": os.getuid(),
        "pid": os.getpid(),
    }


async def test_requests_follow_each_other_on_one_connection(serving):
    client = await serving(echo)
    async with await trio.open_unix_socket(client.path) as stream:
        for number in range(3):
            await stream.send_all(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert f'"/{number}"'.encode() in await stream.receive_some()


async def test_pipelined_requests_are_answered_in_order(serving):
    client = await serving(echo)
    body = b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    last = b"GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    data = await client.raw(body + last)
    assert data.index(b'"/1"') < data.index(b'"/2"')


async def test_a_body_in_pieces_of_one_byte_is_whole(serving):
    client = await serving(echo)
    async with await trio.open_unix_socket(client.path) as stream:
        for byte in b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab":
            await stream.send_all(bytes([byte]))
        assert b'"size":2' in b"".join([chunk async for chunk in stream])


async def test_a_chunked_body_is_whole_and_ends_the_connection(serving):
    client = await serving(echo)
    answer = parsed(
        await client.raw(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
    )
    assert answer.json["size"] == 5
    assert answer.headers["connection"] == "close"


async def test_a_client_that_expects_100_continue_gets_it(serving):
    client = await serving(echo)
    async with await trio.open_unix_socket(client.path) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"ab")
        assert b'"size":2' in await stream.receive_some()


async def test_head_has_no_body(serving):
    async def handler(_: Request) -> Response:
        return Response(200, b"12345")

    client = await serving(handler)
    data = await client.raw(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert data.endswith(b"\r\n\r\n")
    assert parsed(data).headers["content-length"] == "5"


@pytest.mark.parametrize(
    "framing", ["Content-Length: 5\r\n\r\nvalue", "Transfer-Encoding: chunked\r\n\r\n5\r\nvalue\r\n0\r\n\r\n"]
)
async def test_the_body_is_wiped_after_the_handler(serving, framing):
    seen = []

    async def handler(request: Request) -> Response:
        seen.append((request.body, bytes(request.body)))
        return Response(204)

    client = await serving(handler)
    await client.raw(f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}".encode())
    [(body, before)] = seen
    assert before == b"value"
    assert body == bytes(5)


def test_a_request_does_not_print_its_body():
    request = Request("POST", "/", {}, {}, bytearray(b"s3cret"), None)
    assert "s3cret" not in repr(request)


REFUSED = {
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n": 400,
    b"\r\n\r\n": 400,
    b"\x00" * 100 + b"\r\n\r\n": 400,
    b"GET / HTTP/2.0\r\nHost: x\r\n\r\n": 505,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505,
    b"GET /\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnope\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n": 413,
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n": 431,
    b"GET /" + b"x" * 200_000: 431,
    b"GET /?" + b"a=1&" * 100 + b" HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: x\r\n": 408,  # a head that never ends
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab": 408,  # a body that never ends
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab": 408,
}


@pytest.mark.parametrize(("data", "status"), REFUSED.items(), ids=range(len(REFUSED)))
async def test_what_cannot_be_read_is_refused_in_words_and_the_next_is_served(serving, data, status):
    client = await serving(echo, QUICK)
    answer = parsed(await client.raw(data))
    assert answer.status == status
    assert answer.message
    assert (await client("GET", "/")).status == 200


async def test_a_chunked_body_is_bounded_too(serving):
    client = await serving(echo, replace(QUICK, max_body_bytes=10))
    answer = parsed(
        await client.raw(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n" + b"x" * 11)
    )
    assert answer.status == 413


async def test_a_body_in_chunks_of_one_byte_keeps_nobody_waiting_and_ends_at_the_deadline(serving):
    client = await serving(echo, replace(QUICK, body_seconds=1))

    def flood() -> None:
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.connect(str(client.path))
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(100):  # more than a minute's work for h11
                connection.sendall(b"1\r\na\r\n" * 40_000)

    longest = 0.0

    async def measure() -> None:
        nonlocal longest
        while True:
            before = trio.current_time()
            await trio.sleep(0.01)
            longest = max(longest, trio.current_time() - before)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure)
            await trio.to_thread.run_sync(flood)
            nursery.cancel_scope.cancel()
    assert longest < 1


async def test_an_upgrade_with_bytes_behind_it_harms_nobody(serving):
    client = await serving(echo, QUICK)
    data = await client.raw(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello\r\n\r\n"
    )
    assert data.startswith(b"HTTP/1.1 200 ")
    assert (await client("GET", "/")).status == 200


async def test_a_head_of_a_byte_at_a_time_ends_at_the_deadline(serving, nursery):
    client = await serving(echo, QUICK)
    async with await trio.open_unix_socket(client.path) as stream:

        async def dribble() -> None:
            for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000:
                try:
                    await stream.send_all(bytes([byte]))
                except trio.BrokenResourceError:
                    return
                await trio.sleep(0.01)

        nursery.start_soon(dribble)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")
        nursery.cancel_scope.cancel()


async def test_a_reader_that_stalls_is_dropped(serving):
    async def large(_: Request) -> Response:
        return Response(200, bytes(8_000_000))

    client = await serving(large, replace(QUICK, max_connections=1))
    async with await trio.open_unix_socket(client.path) as stalled:
        await stalled.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client("GET", "/")  # there is one slot: this waits until the other was dropped
        assert len(answer.body) == 8_000_000


async def test_a_reader_of_a_stream_that_stalls_makes_room_for_others(serving):
    async def large(write: Write) -> None:
        await write(bytes(8_000_000))

    async def handler(request: Request) -> Response:
        return Response(200, stream=large) if request.path == "/stream" else await echo(request)

    client = await serving(handler, Limits(max_connections=2, grace_seconds=0.1))
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stalled = stack.enter_context(socket.socket(socket.AF_UNIX))
            stalled.connect(str(client.path))
            stalled.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.fail_after(5):
            assert (await client("GET", "/")).status == 200


async def test_who_waits_for_an_answer_to_a_get_keeps_no_room_for_its_body(serving):
    inside = trio.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/wait":
            inside.set()
            await trio.sleep_forever()
        return await echo(request)

    client = await serving(handler, Limits(max_bodies_bytes=8, max_body_bytes=8))
    async with await trio.open_unix_socket(client.path) as waiting:
        await waiting.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n12345678")
        await inside.wait()
        with trio.fail_after(5):
            assert (await client("POST", "/", b"1")).json["size"] == 1


async def test_a_client_that_has_just_come_and_is_idle_makes_room(serving):
    client = await serving(echo, Limits(max_connections=1, grace_seconds=0.1))
    with contextlib.ExitStack() as stack:
        for _ in range(3):  # at once, so that none is known to be idle when the next one comes
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(client.path))
        with trio.fail_after(5):
            assert (await client("GET", "/")).status == 200


async def test_a_client_that_is_idle_is_dropped(serving):
    client = await serving(echo, QUICK)
    assert await client.raw(b"") == b""


async def test_a_client_that_goes_away_in_the_middle_harms_nobody(serving):
    client = await serving(echo, QUICK)
    for data in (b"", b"GET", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"):
        async with await trio.open_unix_socket(client.path) as stream:
            if data:
                await stream.send_all(data)
    assert (await client("GET", "/")).status == 200


async def test_when_all_slots_are_taken_the_longest_idle_makes_room(serving):
    client = await serving(echo, replace(QUICK, idle_seconds=60, max_connections=4))
    idle = [await trio.open_unix_socket(client.path) for _ in range(4)]
    assert (await client("GET", "/")).status == 200
    assert await idle[0].receive_some() == b""
    for stream in idle:
        await stream.aclose()


async def test_stop_lets_what_is_in_hand_end(tmp_path, serving):
    stop, inside, answer = trio.Event(), trio.Event(), trio.Event()

    async def slow(_: Request) -> Response:
        inside.set()
        await answer.wait()
        return Response(204)

    client = await serving(slow, replace(QUICK, stop_seconds=60), stop)
    async with await trio.open_unix_socket(client.path) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await inside.wait()
        stop.set()
        await wait_all_tasks_blocked()
        answer.set()
        data = b"".join([chunk async for chunk in stream])
    assert parsed(data).headers["connection"] == "close"


async def test_stop_is_bounded_when_nothing_ends_and_takes_no_new_client(serving):
    stop, inside = trio.Event(), trio.Event()

    async def never(_: Request) -> Response:
        inside.set()
        await trio.sleep_forever()

    client = await serving(never, QUICK, stop)
    async with await trio.open_unix_socket(client.path) as busy, await trio.open_unix_socket(client.path) as idle:
        await busy.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await inside.wait()
        stop.set()
        assert await idle.receive_some() == b""
        assert await busy.receive_some() == b""
    with pytest.raises((OSError, trio.BrokenResourceError)):
        await client.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@given(data=st.binary(max_size=300), requests=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_garbage_never_ends_the_server(data, requests):
    trio.run(
        _all_answered, (data, b"POST / HTTP/1.1\r\n" + data, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * requests + data)
    )


async def _all_answered(packets: tuple[bytes, ...]) -> None:
    stop = trio.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # an abstract address, see unix(7)
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(server.serve, listener, echo, stop=stop, limits=QUICK))
            for packet in packets:
                await _sent(listener.getsockname(), packet or b"x")
            stop.set()


async def _sent(address: bytes, packet: bytes) -> None:
    with trio.socket.socket(socket.AF_UNIX) as client:
        await client.connect(address)
        await client.send(packet)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while await client.recv(65536):
                pass
