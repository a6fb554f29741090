"""A daemon that is not there, does not answer, or is no daemon."""

import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import Ended, run
from fake_daemon import FakeDaemon
from hypothesis import given
from hypothesis import strategies as st

from secretfs.cli import audit
from secretfs.cli.client import Client, quoted
from secretfs.errors import SecretfsError, UnavailableError, UsageError

ELSE = "secretfs: hint: is another program listening there?\n"


def test_missing_socket_is_said_with_what_to_do(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/api.sock"
    ended = run(host, ["secret", "ls"])
    assert ended == Ended(
        "",
        f"secretfs: error: cannot reach the daemon at {host}: no such file or directory\n"
        "secretfs: hint: is it running? start it with 'secretfs daemon', or name its socket with --host\n",
        ended.both,
        1,
    )


def test_socket_that_nobody_listens_on_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "api.sock"))
    ended = run(f"unix://{tmp_path}/api.sock", ["ps"])
    assert "api.sock: connection refused\nsecretfs: hint: is it running?" in ended.err


def test_socket_below_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(f"unix://{tmp_path}/file/api.sock", ["ps"])
    assert "file/api.sock: not a directory\nsecretfs: hint: look at the daemon's log\n" in ended.err


def test_several_arguments_ask_an_unreachable_daemon_once(tmp_path: Path) -> None:
    ended = run(f"unix://{tmp_path}/api.sock", ["secret", "rm", "a", "b", "c"])
    assert ended.err.count("cannot reach") == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the answer was cut short"),
        (b"220 smtp ready\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", "the answer was cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<a>", "the answer is not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"[" * 9999, "the answer is not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff", "the answer is not JSON"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 302"),
    ],
)
def test_what_is_no_daemon_is_said(
    daemon: FakeDaemon, secretfs: Callable[..., Ended], answer: bytes, reason: str
) -> None:
    daemon.answers = answer
    ended = secretfs("secret", "ls")
    assert ended.err == f"secretfs: error: cannot reach the daemon at {daemon.host}: {reason}\n{ELSE}"
    assert (ended.out, ended.code) == ("", 1)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"message":"rpc error: code = Unknown desc = a: b"}', "a: b"),
        (b'{"message":"page not found"}', "page not found"),
        (b'{"message":7}', "the daemon answered with HTTP status 500"),
        (b'"x"', "the daemon answered with HTTP status 500"),
        (b"<html>", "the daemon answered with HTTP status 500"),
        (b"", "the daemon answered with HTTP status 500"),
    ],
)
def test_refusal_is_told_without_its_prefix(
    daemon: FakeDaemon, secretfs: Callable[..., Ended], body: bytes, text: str
) -> None:
    daemon.answers = b"HTTP/1.1 500 x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    ended = secretfs("secret", "ls")
    assert (ended.err, ended.code) == (f"secretfs: error: {text}\n", 1)


@pytest.mark.parametrize(
    "body", [b"null", b"3", b"{}", b'[null,3,"x",{}]', b'[{"Spec":3,"ID":{}}]', b'[{"Spec":{"Labels":[1],"Name":7}}]']
)
@pytest.mark.parametrize(
    "words", ["secret ls", "service ls", "ps", "audit", "secret inspect x --pretty", "service inspect x --pretty"]
)
def test_answer_of_another_shape_shows_blanks(
    daemon: FakeDaemon, secretfs: Callable[..., Ended], body: bytes, words: str
) -> None:
    daemon.answers = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    ended = secretfs(*words.split())
    assert (ended.err, ended.code) == ("", 0)


def test_who_follows_the_audit_goes_on_behind_what_the_daemon_has_looked_at(daemon: FakeDaemon) -> None:
    records = audit._Records(Client(daemon.host), {"secret": "mine"})
    for last, after in ((7, ""), (9, "7"), (9, "9")):
        daemon.answers = b"HTTP/1.1 200 OK\r\nSecretfs-Last: %d\r\nContent-Length: 2\r\n\r\n[]" % last
        assert records.next() == []
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(daemon.requests[-1].split()[1]).query)
        assert asked.get("after", [""]) == [after]


@contextmanager
def peer(path: Path, behave: Callable[[socket.socket], None]) -> Iterator[None]:
    """Something that accepts one connection, behaves, and closes it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection:
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_daemon_that_stays_silent_is_given_up(tmp_path: Path) -> None:
    given_up = threading.Event()
    with peer(tmp_path / "api.sock", lambda _: (given_up.wait(10), None)[1]):
        client = Client(f"unix://{tmp_path}/api.sock", silence_seconds=0.02)
        with pytest.raises(UnavailableError, match=r"no answer for 0\.02 s") as failed:
            client.get("/secrets")
        given_up.set()
    assert failed.value.__notes__ == ["look at the daemon's log"]


def test_refusal_before_the_body_is_read_is_told(tmp_path: Path) -> None:
    message = b'{"message":"the request is too long"}'

    def refuse(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 413 x\r\nContent-Length: %d\r\n\r\n%b" % (len(message), message))

    with (
        peer(tmp_path / "api.sock", refuse),
        pytest.raises(SecretfsError, match=r"the request is too long|connection reset"),
    ):
        Client(f"unix://{tmp_path}/api.sock").post("/secrets/create", bytes(8_000_000))


def test_path_of_a_host_has_an_end() -> None:
    Client("unix://" + "/" + "x" * 106)
    with pytest.raises(UsageError, match="the path is longer than 107 bytes"):
        Client("unix://" + "/" + "x" * 107)


@given(st.text())
def test_quoted_text_is_one_segment_that_reads_back(text: str) -> None:
    from urllib.parse import unquote

    segment = quoted(text.encode(errors="replace").decode())
    assert not set(segment) & set("/?#& \r\n")
    assert unquote(segment) == text.encode(errors="replace").decode()
