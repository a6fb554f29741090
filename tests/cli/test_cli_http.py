"""HTTP answers without a socket: any cut of the bytes is the same answer, and what is none is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.cli import http
from secretfs.cli.http import Response, ResponseReader
from secretfs.errors import LinkError


def read(*pieces: bytes, ended: bool = False) -> tuple[int, bytes] | None:
    reader = ResponseReader()
    response: Response | None = None
    for piece in pieces:
        response = reader.feed(piece)
    if ended:
        response = reader.end()
    return response and (response.status, response.body)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", (200, b"ab")),
        (b"HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", (200, b"")),
        (b"HTTP/1.0 404 Not Found\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", (404, b"x")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", (304, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, b"x")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: x\r\n\r\n",
            (200, b"abc"),
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", (200, b"")),
    ],
)
def test_answer_is_read_whole_however_it_is_cut(data: bytes, answer: tuple[int, bytes]) -> None:
    assert read(data) == answer
    assert read(*(data[at : at + 1] for at in range(len(data)))) == answer
    for at in range(len(data)):
        assert read(data[:at]) is None, "complete before its end"
        assert read(data[:at], data[at:]) == answer


def test_answer_without_a_length_ends_with_the_connection() -> None:
    assert read(b"HTTP/1.1 200 OK\r\n\r\nab", b"c") is None
    assert read(b"HTTP/1.1 200 OK\r\n\r\nab", b"c", ended=True) == (200, b"abc")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "the answer has a malformed header"),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "the answer has a malformed header"),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", "the answer has a malformed header"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "the answer has two lengths"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "the answer has a malformed length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n", "the answer has a malformed length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "the answer has an unknown transfer coding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "the answer has a malformed length"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "the answer has a chunk that is longer than it says",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * http.MAX_HEAD_BYTES, "the answer's head is too long"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (http.MAX_HEAD_BYTES + 1),
            "the answer has a line without an end",
        ),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(LinkError, match=text):
        read(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"],
    ids=["none", "head", "body"],
)
def test_answer_that_ends_early_is_refused(data: bytes) -> None:
    with pytest.raises(LinkError, match="the answer was cut short"):
        read(data, ended=True)


def test_answer_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 10)
    with pytest.raises(LinkError, match="the answer is too long"):
        read(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 11)


@given(st.integers(200, 599), st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=5), st.booleans())
def test_any_body_comes_back_by_length_and_by_chunks(status: int, body: bytes, cuts: list[int], chunked: bool) -> None:
    head = f"HTTP/1.1 {status} x\r\n".encode()
    if chunked:
        chunks = [body[at : at + 7] for at in range(0, len(body), 7)]
        data = head + b"Transfer-Encoding: chunked\r\n\r\n"
        data += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    else:
        data = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    expected = b"" if status in (204, 304) else body
    pieces = [data[begin:end] for begin, end in pairwise(edges)]
    assert read(*pieces) == (status, expected)


@given(
    st.lists(
        st.sampled_from([b"HTTP/1.1 200 OK", b"\r\n", b"Content-Length: 3", b":", b"abc", b"0", b"\r\n\r\n"])
        | st.binary()
    )
)
def test_garbage_is_an_answer_or_refused_and_nothing_else(pieces: list[bytes]) -> None:
    reader = ResponseReader()
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.end()
    except LinkError as refused:
        text = str(refused)
    else:
        text = "the answer was whole"
    assert text.startswith("the answer")
