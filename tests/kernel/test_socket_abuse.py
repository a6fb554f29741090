"""Whatever is done to the sockets ends in time and costs a bounded amount of memory, and others are served.

What each abuse cost is printed (``pytest -s``). Meanwhile another client asks the daemon again and again, and at the
end of it a task reads its secret.
"""

import base64
import contextlib
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

MOST_MORE_BYTES = 192 << 20  # of control, above what it has when nobody harms it
PATIENCE_SECONDS = 20.0  # of another client
VALUE = b"This is a secret"
CREATE = b"POST /secrets/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@dataclass
class Abused:
    """The daemon, and short words for who abuses it."""

    daemon: object
    task: object
    path: str
    control: int

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(self.path)  # waits for its turn, as long as it has no timeout
        made.settimeout(3 * PATIENCE_SECONDS)
        return made

    def crowd(self, count: int, first: bytes = b"") -> list[socket.socket]:
        """Connections that have sent this."""
        return [self._begun(first) for _ in range(count)]

    def _begun(self, first: bytes) -> socket.socket:
        made = self.connect()
        with contextlib.suppress(OSError):  # its place was another's before it had said anything
            made.sendall(first)
        return made

    def peak_bytes(self) -> int:
        return _field(self.control, "VmHWM") * 1024


def _field(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(name)


class Other(threading.Thread):
    """Another client, and the longest that it ever waited for its answer."""

    def __init__(self, abused: Abused) -> None:
        super().__init__()
        self._abused = abused
        self._over = threading.Event()
        self.longest = 0.0
        self.answers = 0

    def run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            with self._abused.connect() as made:
                made.sendall(b"GET /secrets/s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert made.recv(65536).startswith(b"HTTP/1.1 200 OK")
            self.longest = max(self.longest, time.monotonic() - began)
            self.answers += 1

    def end(self) -> None:
        self._over.set()
        self.join()


@pytest.fixture(scope="module")
def abused(shared_daemon) -> Iterator[Abused]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    shared_daemon.secret("s", VALUE)
    for number in range(8):
        shared_daemon.cli("config", "create", f"c{number}", "-", input=os.urandom(1_000_000))
    task = shared_daemon.task("--secret", "s")
    path = str(shared_daemon.runtime / "api.sock")
    yield Abused(shared_daemon, task, path, shared_daemon.children()["control"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def idle(abused: Abused) -> None:
    """Ten thousand connections of which none says anything."""
    end(abused.crowd(10_000))


def silent_after_a_word(abused: Abused) -> None:
    """A thousand that begin a request and leave it at that."""
    end(abused.crowd(1_000, b"GET /version HTTP/1.1\r\nX-"))


def slow_heads(abused: Abused) -> None:
    crowd = abused.crowd(300, b"GET /version HTTP/1.1\r\nHost: x\r\nX: ")
    for _ in range(20):
        for one in crowd:
            with contextlib.suppress(OSError):
                one.send(b"x")
        time.sleep(0.1)  # the pace of who is slow
    end(crowd)


def slow_bodies(abused: Abused) -> None:
    crowd = abused.crowd(300, CREATE + b"Content-Length: 4194304\r\n\r\n{")
    for _ in range(20):
        for one in crowd:
            with contextlib.suppress(OSError):
                one.send(b" " * 1000)
        time.sleep(0.1)
    end(crowd)


def bodies_that_never_end(abused: Abused) -> None:
    crowd = abused.crowd(12, CREATE + b"Transfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for one in crowd:
        with contextlib.suppress(OSError):
            for _ in range(100):
                one.sendall(piece)
    end(crowd)


def stalled_readers(abused: Abused) -> None:
    """They ask for more than a socket holds, and take nothing of it."""
    end(abused.crowd(200, b"GET /configs HTTP/1.1\r\nHost: x\r\n\r\n"), seconds=3)


def stalled_listeners(abused: Abused) -> None:
    """They follow the events and take none."""
    crowd = abused.crowd(60, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    for number in range(50):
        abused.daemon.api("POST", "/networks/create", {"Name": f"n{number}", "Driver": "overlay"})
        abused.daemon.api("DELETE", f"/networks/n{number}")
    end(crowd)


def garbage(abused: Abused) -> None:
    dice = random.Random(5)
    for _ in range(500):
        refused(abused, dice.randbytes(dice.randrange(1, 3000)) + b"\r\n\r\n")


def upgrades(abused: Abused) -> None:
    for protocol in (b"websocket", b"h2c", b"tcp") * 30:
        refused(abused, b"POST /grpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n")
        refused(abused, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def huge_heads(abused: Abused) -> None:
    for count in (1, 100, 100_000):
        refused(abused, b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"x" * (5_000_000 // count) + b"\r\n") * count)


def bad_json(abused: Abused) -> None:
    for text in (
        b"{",
        b"[",
        b'{"Name":',
        b'"',
        b"\xff",
        b"{}x",
        b'{"Data":"' + b"A" * 4_000_000,
        b"1e999999999",
        b"\0",
    ):
        refused(abused, CREATE + b"Content-Length: %d\r\n\r\n" % len(text) + text)


def deep_json(abused: Abused) -> None:
    for opened in (b"[", b'{"a":', b'{"Labels":', b'{"TaskTemplate":{"ContainerSpec":'):
        text = opened * (4_000_000 // len(opened))
        for place in (b"/secrets/create", b"/services/create", b"/swarm/update?version=1", b"/networks/create"):
            head = CREATE.replace(b"/secrets/create", place)
            refused(abused, head + b"Content-Length: %d\r\n\r\n" % len(text) + text)


def large_values(abused: Abused) -> None:
    """As large as anybody may send, from many at once."""
    text = b'{"Name":"large","Data":"' + base64.b64encode(os.urandom(1_100_000)) + b'"}'
    request = CREATE.replace(b"secrets", b"configs") + b"Content-Length: %d\r\n\r\n" % len(text) + text
    crowd = [threading.Thread(target=refused, args=(abused, request)) for _ in range(60)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()


def attach_crowd(abused: Abused) -> None:
    """A thousand who say nothing where tasks attach, and garbage; a task that means it comes through."""
    crowd = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(1_000)]
    path = str(abused.daemon.runtime / "attach.sock")
    for number, one in enumerate(crowd):
        one.connect(path)
        if number % 3 == 0:
            with contextlib.suppress(OSError):
                one.send(os.urandom(number))
    assert abused.daemon.out("run", "--secret", "s", "--", "cat", "/run/secrets/s").encode() == VALUE
    end(crowd)


def refused(abused: Abused, data: bytes) -> None:
    """Send it, and read until the server has had enough."""
    with abused.connect() as made:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            made.sendall(data)
            made.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while made.recv(65536):
                pass


def end(crowd: list[socket.socket], seconds: float = 0) -> None:
    time.sleep(seconds)
    for one in crowd:
        one.close()


ABUSES: list[Callable[[Abused], None]] = [
    idle, silent_after_a_word, slow_heads, slow_bodies, bodies_that_never_end, stalled_readers, stalled_listeners,
    garbage, upgrades, huge_heads, bad_json, deep_json, large_values,
    attach_crowd,
]  # fmt: skip


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
def test_others_are_served_and_memory_is_bounded(abused, abuse):
    Path(f"/proc/{abused.control}/clear_refs").write_text("5")  # proc(5): forget the peak
    before = abused.peak_bytes()
    other = Other(abused)
    other.start()
    began = time.monotonic()
    try:
        abuse(abused)
        assert abused.task.cat("s") == VALUE
    finally:
        took = time.monotonic() - began
        other.end()
    more = abused.peak_bytes() - before
    print(  # noqa: T201 the figures that are asked for
        f"\n{abuse.__name__}: {took:.1f} s, control's peak {abused.peak_bytes() >> 20} MiB ({more >> 20} more); "
        f"the other client had {other.answers} answers, the slowest after {other.longest:.2f} s"
    )
    assert abused.daemon.children()["control"] == abused.control
    assert more < MOST_MORE_BYTES
    assert other.longest < PATIENCE_SECONDS
