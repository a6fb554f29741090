"""Ordinary users of a daemon's host."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Self

from daemons import ANSWER_SECONDS, SECRETFS, Daemon, Inside

AS_USER = str(Path(__file__).with_name("as_user.py"))
TRICKS = str(Path(__file__).with_name("tricks.py"))


class User:
    """Somebody with a uid, a gid of the same number, and groups."""

    def __init__(self, daemon: Daemon, uid: int, *groups: int) -> None:
        self.daemon = daemon
        self.uid = uid
        gids = ",".join(map(str, (uid, *groups)))
        self.becoming: tuple[str, ...] = (sys.executable, AS_USER, str(uid), gids)

    def task(self, *options: str) -> Inside:
        """A process inside a new task of his."""
        return self.daemon.task(*options, before=self.becoming)

    def secretfs(self, *words: str) -> subprocess.CompletedProcess:
        """What he types."""
        command = [*self.becoming, SECRETFS, *words]
        return subprocess.run(command, capture_output=True, text=True, env=self.daemon.environment, timeout=60)

    def refusal(self, *options: str) -> list[str]:
        """What a run that is refused says on standard error."""
        done = self.secretfs("run", *options, "--", "true")
        assert (done.returncode, done.stdout) == (125, ""), done
        return done.stderr.splitlines()

    def trick(self, name: str, *arguments: object) -> "Trick":
        """Something that he tries, see tricks.py."""
        return Trick(self, name, *map(str, arguments))


class Trick:
    """A running trick; ``with`` ends it."""

    def __init__(self, user: User, name: str, *arguments: str) -> None:
        path = str(user.daemon.runtime / "attach.sock")
        command = [*user.becoming, sys.executable, TRICKS, name, path, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(ANSWER_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def said(self) -> object:
        """What it says next."""
        line = self._process.stdout.readline()
        assert line, "it ended"
        return json.loads(line)

    def told(self, word: str = "") -> object:
        """What it says to that."""
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self.said()
