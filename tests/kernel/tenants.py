"""Services that live through everything that can happen to a service, again and again, and look whether it is right."""

import base64
import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from asking import PATIENCE_SECONDS, Asker
from daemons import Daemon, Inside, report_of

MAX_BYTES = 20_000
REFUSED = re.compile(r"ended: 125")  # secretfs run said why, and started nothing

T = TypeVar("T")


class Tenant:
    """A service with a secret that all of them share and one of its own, and a task of it that stays all the while."""

    def __init__(self, daemon: Daemon, name: str, steady: bytes, done: Counter) -> None:
        self._daemon = daemon
        self._asker = Asker(daemon)
        self._name = name
        self._own = f"own-{name}"
        self._steady = steady
        self._value = _fresh()
        self._done = done
        daemon.secret(self._own, self._value)
        daemon.cli("service", "create", "--secret", "steady", "--secret", f"source={self._own},target=own", name)
        self._resident = daemon.task("--service", name)
        self._held = self._resident.do("open", "/run/secrets/steady")

    def round(self, *, stormy: bool) -> None:
        """Tasks come, see a rotation, a revocation and a grant, and go. ``stormy``: processes of the daemon are killed
        meanwhile, and one who reads all the while is killed as well.
        """
        leaves, dies = (self._come(self._task, stormy=stormy) for _ in range(2))
        reader = self._come(self._reader, stormy=stormy)
        tasks = [self._resident, leaves, dies]
        self._see(tasks, self._value)
        held = [task.do("open", "/run/secrets/own") for task in tasks]
        old, self._value = self._value, _fresh()
        self._rotate(tasks)
        for task, fd in zip(tasks, held, strict=True):
            assert bytes.fromhex(task.do("read", fd, len(old))) == old, "what is open is what it was"
        self._grant(tasks, own=False)
        for task, fd in zip(tasks, held, strict=True):
            assert task.do("read", fd, 1) == "EACCES"
            task.do("close", fd)
        self._grant(tasks, own=True)
        self._see(tasks, self._value)
        assert bytes.fromhex(self._resident.do("read", self._held, len(self._steady))) == self._steady
        self._go(leaves, dies, reader, stormy=stormy)

    def tidy(self) -> None:
        """No version is left but the one that is shown."""
        self._asker.ask("POST", f"/secretfs/v1/secrets/{self._own}/prune", {"Keep": 1})

    def _come(self, start: Callable[[], T], *, stormy: bool) -> T:
        """A new task. Nothing is started when the daemon is lost in the middle of an attach: then it is tried again."""
        while True:
            try:
                task = start()
            except AssertionError as refused:
                if not stormy or not REFUSED.search(str(refused)):
                    raise
                self._done["attaches refused"] += 1
            else:
                self._done["attaches"] += 1
                return task

    def _task(self) -> Inside:
        return self._daemon.task("--service", self._name)

    def _reader(self) -> subprocess.Popen:
        [reader] = self._daemon.readers(1, self._name, {"steady": [self._steady]})
        return reader

    def _see(self, tasks: Iterable[Inside], own: bytes) -> None:
        for task in tasks:
            assert task.cat("steady") == self._steady
            assert task.cat("own") == own
            self._done["reads"] += 2

    def _rotate(self, tasks: list[Inside]) -> None:
        answer = self._asker.rotate(self._own, base64.b64encode(self._value).decode())
        self._shown(answer, tasks, lambda task: task.cat("own") == self._value)
        self._done["rotations"] += 1

    def _grant(self, tasks: list[Inside], *, own: bool) -> None:
        answer = self._asker.grant(self._name, {"steady": "steady"} | ({"own": self._own} if own else {}))
        expected = self._value if own else "ENOENT"
        self._shown(answer, tasks, lambda task: task.cat("own") == expected)
        self._done["grants" if own else "revocations"] += 1

    def _shown(self, answer: dict, tasks: list[Inside], shows: Callable[[Inside], bool]) -> None:
        """At once; later only where the answer has said so."""
        late = bool(answer.get("Warnings"))
        self._done["late"] += late
        deadline = time.monotonic() + (PATIENCE_SECONDS if late else 0)
        for task in tasks:
            while not shows(task):
                assert time.monotonic() < deadline, f"{task.pid} does not see what was acknowledged"

    def _go(self, leaves: Inside, dies: Inside, reader: subprocess.Popen, *, stormy: bool) -> None:
        assert leaves.stop() == 0
        dies.kill()
        if stormy and random.random() < 0.5:
            with reader:
                reader.kill()
        else:
            report = report_of(reader)
            assert (report["errors"], report["wrong"]) == ([], 0)
            self._done["reads"] += report["reads"]
        self._done["detaches"] += 3


def _fresh() -> bytes:
    """No byte of it is 0: a page that holds none is empty."""
    return os.urandom(random.randint(1, MAX_BYTES)).replace(b"\0", b"0")
