"""Heads that are read in one look are those that h11 would have read, and as it would have."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.control.api import heads
from secretfs.control.api.heads import Head

PLAIN = b"POST /secrets/create?a=b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
NAMES = st.sampled_from(
    [b"Host", b"host", b"X-One", b"Content-Length", b"Connection", b"Expect", b"Transfer-Encoding", b"Upgrade", b"A b"]
)
VALUES = st.one_of(
    st.sampled_from([b"", b" ", b" x", b"3", b" 12 ", b" 1, 2", b"chunked", b" 100-continue", b" close", b"\tx"]),
    st.binary(max_size=6),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(
    lambda found: b"".join(name + b":" + value + b"\r\n" for name, value in found)
)
STARTS = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"CONNECT x:1 HTTP/1.1", b"GET / HTTP/1.0", b"get / HTTP/1.1", b"GET  /"]
)


def by_h11(data: bytes) -> Head:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return heads.of_event(event)


def test_what_clients_send_all_day_is_plain():
    assert heads.plain(PLAIN) == by_h11(PLAIN)
    head = heads.plain(PLAIN)
    assert head is not None
    assert (head.length, head.chunked, head.last) == (12, False, False)


@given(STARTS, FIELDS)
def test_what_is_plain_is_what_h11_reads(start, fields):
    data = start + b"\r\n" + fields + b"\r\n"
    head = heads.plain(data)
    if head is not None:
        assert head == by_h11(data)


@pytest.mark.parametrize(
    "fields",
    [
        b"",  # no host
        b"Host: x\r\nHost: x\r\n",
        b"Host: x\r\nExpect: 100-continue\r\n",
        b"Host: x\r\nTransfer-Encoding: chunked\r\n",
        b"Host: x\r\nUpgrade: h2c\r\n",
        b"Host: x\r\nContent-Length: 1\r\ncontent-length: 1\r\n",
        b"Host: x\r\nContent-Length: +1\r\n",
        b"Host: x\r\nX: \xff\r\n",
        b"Host: x\r\n folded\r\n",
        b"Host: x\nX: y\n",
    ],
)
def test_what_asks_for_more_is_left_to_h11(fields):
    assert heads.plain(b"GET / HTTP/1.1\r\n" + fields + b"\r\n") is None


@pytest.mark.parametrize(
    ("version", "connection", "last"),
    [(b"1.1", b"", False), (b"1.1", b"keep-alive", False), (b"1.1", b"x, Close", True), (b"1.0", b"", True)],
)
def test_who_wants_no_other_answer_is_known(version, connection, last):
    assert Head(b"GET", b"/", {b"connection": connection}, version).last is last


def test_a_field_of_an_answer_cannot_begin_another():
    with pytest.raises(AssertionError):
        heads.response(200, [("X", "a\r\nY: b")])
