"""A daemon that hands over a tmpfs, and the real command line against it."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from secretfs.linux import mount, namespaces, peer

GO = b'{"Go": true}'
HEARD_SECONDS = 30


class Daemon:
    """The other end of the attach socket, with a tmpfs for a tree and whatever answer a test wants."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = f"unix://{directory}/api.sock"
        self.files = [{"Kind": "secret", "Name": "my.secret", "Target": "my_secret"}]
        self.trees: list[Path] = []
        self.refusal: str | None = None  # said before the request is read
        self.answer: bytes | None = None  # instead of the right one
        self.word = GO
        self.silent = False  # says nothing until the other end is gone
        self.asked = threading.Event()
        self.requests: list[dict] = []
        self.pids: list[int] = []
        self.mnt_ns: int | None = None
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(directory / "attach.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.hide()

    def show(self, place: Path, files: dict[str, tuple[bytes, int, int, int]]) -> None:
        """Hand over one more tree from now on, with these files: content, uid, gid, mode."""
        mount.mount("secrets", str(place), "tmpfs", mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC, "mode=755")
        self.trees.append(place)
        for name, (content, uid, gid, mode) in files.items():
            path = place / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            os.chown(path, uid, gid)
            path.chmod(mode)

    def hide(self) -> None:
        """Hand over nothing from now on."""
        while self.trees:
            mount.umount2(str(self.trees.pop()), mount.MNT_DETACH)

    def messages(self, count: int = 1) -> list[bytes]:
        """What came after the answers; b"" where the other end went away instead."""
        return [self._heard.get(timeout=HEARD_SECONDS) for _ in range(count)]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        self.pids.append(peer.credentials(connection).pid)
        if self.refusal is not None:
            connection.send(json.dumps({"Error": self.refusal}).encode())
            return
        self.requests.append(json.loads(connection.recv(65536)))
        self.asked.set()
        if self.silent:
            connection.recv(1)
            return
        right = json.dumps({"Task": "t" * 25, "Files": self.files}).encode()
        answer = right if self.answer is None else self.answer
        if not answer:
            return
        trees = [mount.open_tree(str(place)) for place in self.trees]
        socket.send_fds(connection, [answer], trees)
        for fd in trees:
            os.close(fd)
        message = connection.recv(65536)
        self._heard.put(message)
        if message:
            self.mnt_ns = namespaces.ns_inode(self.pids[-1], "mnt")
            if self.word:
                connection.send(self.word)


@pytest.fixture
def daemon(tmp_path):
    (tmp_path / "tree").mkdir()
    with Daemon(tmp_path) as running:
        running.show(
            tmp_path / "tree",
            {"my_secret": (b"This is a secret", 103, 104, 0o440), "sub/other": (b"x", 0, 0, 0o444)},
        )
        yield running


class Secretfs:
    """``secretfs run`` as a user types it."""

    def __init__(self, daemon: Daemon, target_dir: Path) -> None:
        self.daemon = daemon
        self.target_dir = target_dir
        self.options = ["--secret", "source=my.secret,target=my_secret", "--target-dir", str(target_dir)]

    def argv(self, *words: str, options: Sequence[str] | None = None) -> list[str]:
        before = [sys.executable, "-m", "secretfs.cli.main", "-H", self.daemon.host, "run"]
        return [*before, *(self.options if options is None else options), *words]

    def __call__(self, *words: str, options: Sequence[str] | None = None, **how: object):
        how = {"timeout": 60, "capture_output": True, "text": True} | how
        return subprocess.run(self.argv(*words, options=options), **how)

    def refusal(self, *words: str, options: Sequence[str] | None = None) -> tuple[int, list[str]]:
        """Exit code and the lines on stderr of a run that must not start ``touch marker``; words go before ``--``."""
        marker = self.daemon.directory / "marker"
        result = self(*words, "--", "touch", str(marker), options=options)
        assert not marker.exists()
        assert result.stdout == ""
        return result.returncode, result.stderr.splitlines()


@pytest.fixture
def secretfs_run(daemon, tmp_path):
    return Secretfs(daemon, tmp_path / "deep" / "secrets")
