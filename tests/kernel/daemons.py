"""A real daemon in temporary directories, and processes inside tasks. Nothing stays mounted or running."""

import contextlib
import hashlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from secretfs.linux.process import start_ticks

SECRETFS = str(Path(sys.executable).with_name("secretfs"))
READER = str(Path(__file__).with_name("reader.py"))
INSIDE = str(Path(__file__).with_name("inside.py"))
READY_SECONDS = 30
ANSWER_SECONDS = 30


class Daemon:
    """``secretfs daemon`` in directories of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state, self.runtime = root / "state", root / "run"
        self.mountpoint = self.runtime / "mnt"
        self.key = root / "root.key"
        self.host = f"unix://{self.runtime}/api.sock"
        self.environment = {**os.environ, "SECRETFS_HOST": self.host}
        self.program: tuple[str, ...] = (SECRETFS,)  # or one of another version, or in another namespace
        self.lines: list[str] = []
        self._began: dict[int, int] = {}  # pids of children that were ready, and when they were started
        self._events: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._process: subprocess.Popen | None = None
        self._tasks: list[Inside] = []
        self._readers: list[subprocess.Popen] = []

    def start(self, *options: str, command: tuple[str, ...] = (), **environment: str) -> "Daemon":
        """Start, and wait for the line that says ready."""
        self.spawn(*options, command=command, **environment)
        self.wait_for("ready")
        return self

    def spawn(self, *options: str, command: tuple[str, ...] = (), **environment: str) -> None:
        arguments = ["--state-dir", self.state, "--runtime-dir", self.runtime, "--root-key", f"file:{self.key}"]
        self._process = subprocess.Popen(
            [*(command or (*self.program, "daemon")), *map(str, arguments), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
        )
        self._events = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr, self._events), daemon=True)
        self._reader.start()

    def _read(self, stderr, events) -> None:
        with stderr:
            for line in stderr:
                self.lines.append(line)
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    self._remember(event)
                    events.put(event)
        events.put({"event": "end of log"})

    def _remember(self, event: dict) -> None:
        """When a child began: its pid is another's soon after its end, where many tests run at once."""
        if event.get("event") == "child ready":
            with contextlib.suppress(ProcessLookupError):
                self._began[event["pid"]] = start_ticks(event["pid"])

    def _is_ours(self, pid: int) -> bool:
        try:
            return start_ticks(pid) == self._began.get(pid)
        except ProcessLookupError:
            return False

    def wait_for(self, event: str, **fields: object) -> dict:
        """The next line of the log about this event."""
        while True:
            try:
                line = self._events.get(timeout=READY_SECONDS)
            except queue.Empty:
                pytest.fail(f"no {event!r} in the daemon's log:\n{''.join(self.lines)}")
            if line.get("event") == event and fields.items() <= line.items():
                return line
            if line.get("event") == "end of log":
                pytest.fail(f"the daemon ended without {event!r}:\n{''.join(self.lines)}")

    def empty(self) -> None:
        """Remove all that tests have made, for the next one; it waits for later events only."""
        for service in self.api("GET", "/services"):
            self.api("DELETE", f"/services/{service['ID']}")
        for task in self._tasks:
            task.kill()
        while self.api("GET", "/secretfs/v1/tasks"):
            continue
        for secret in self.api("GET", "/secrets"):
            self.api("DELETE", f"/secrets/{secret['ID']}")
        with contextlib.suppress(queue.Empty):
            while True:
                self._events.get_nowait()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def children(self) -> dict[str, int]:
        """Pids of fs and control, by their last names."""
        found = self._offspring()  # a child between fork and exec looks like its parent
        return {name: found[name] for name in ("fs", "control") if name in found}

    def standby(self) -> int | None:
        """The pid of the fs that waits for the end of the one that serves, if there is one."""
        return self._offspring().get("standby")

    def _offspring(self) -> dict[str, int]:
        found = {}
        serving = self._fs_pids()
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX" and b"-m" in words:
                    name = words[words.index(b"-m") + 1].decode().removeprefix("secretfs.")
                    found["standby" if name == "fs" and int(pid) not in serving else name] = int(pid)
        return found

    def fs_pid(self) -> int:
        """The fs that was the last to become ready; it may be an older supervisor's child."""
        return self._fs_pids()[-1]

    def _fs_pids(self) -> list[int]:
        events = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [
            event["pid"] for event in events if event["event"] == "child ready" and event["module"] == "secretfs.fs"
        ]

    def living_fs(self) -> list[int]:
        """Every fs of these directories that lives."""
        return [pid for pid in set(self._fs_pids()) if alive(pid) and self._is_ours(pid)]

    def take_over(self, *options: str, becomes_ready: bool = True) -> None:
        """``secretfs daemon --takeover`` beside the one that runs; that one is gone when it is ready."""
        before = self._process
        assert before
        self.spawn("--takeover", *options)
        if becomes_ready:
            self.wait_for("ready")
        assert before.wait(10) == -signal.SIGKILL

    def pids(self) -> list[int]:
        return [self.pid, *self.children().values()]

    def processes(self) -> list[int]:
        """The supervisor, whatever it has started, and every fs that lives."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sorted(filter(alive, {self.pid, *map(int, children), *self.living_fs()}))

    def cli(self, *words: str, input: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess:
        command = [*self.program, *words]
        done = subprocess.run(command, input=input, capture_output=True, env=self.environment, timeout=60)
        if check:
            assert done.returncode == 0, (words, done.returncode, done.stderr.decode())
        return done

    def out(self, *words: str, input: bytes | None = None) -> str:
        return self.cli(*words, input=input).stdout.decode().strip()

    def secret(self, name: str, value: bytes) -> str:
        """Create a secret; its id."""
        return self.out("secret", "create", name, "-", input=value)

    def api(self, method: str, path: str, body: object = None) -> object:
        """A call of the API without the command line's start-up; its JSON. Repeated while control is away."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            connection = Unix(str(self.runtime / "api.sock"))
            try:
                connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = answer.read()
            except (http.client.HTTPException, ConnectionError):
                assert time.monotonic() < deadline, "the API does not answer"
                continue
            finally:
                connection.close()
            assert answer.status < 300, (method, path, answer.status, content)
            return json.loads(content) if content else None

    def grant(self, service: str, targets: dict[str, str]) -> list[str]:
        """Grant the service exactly these: target → name of a secret. Which tasks do not show it yet, in words."""
        secrets = {found["Spec"]["Name"]: found["ID"] for found in self.api("GET", "/secrets")}
        found = self.api("GET", f"/services/{service}")
        file = {"UID": "0", "GID": "0", "Mode": 0o444}
        found["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"] = [
            {"File": {"Name": target, **file}, "SecretID": secrets[name], "SecretName": name}
            for target, name in targets.items()
        ]
        path = f"/services/{found['ID']}/update?version={found['Version']['Index']}"
        return self.api("POST", path, found["Spec"])["Warnings"] or []

    def readers(
        self, count: int, service: str, files: dict[str, list[bytes]], *, before: tuple[str, ...] = ()
    ) -> list[subprocess.Popen]:
        """Tasks that read these files in a loop: target → what it may hold; ``before`` says as whom."""
        words = [
            f"/run/secrets/{target}={','.join(hashlib.sha256(value).hexdigest() for value in values)}"
            for target, values in files.items()
        ]
        command = [*before, *self.program, "run", "--service", service, "--", sys.executable, READER, *words]
        readers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment) for _ in range(count)
        ]
        self._readers += readers
        for reader in readers:
            assert reader.stdout.readline() == "reading\n", f"a reader ended: {reader.wait(ANSWER_SECONDS)}"
        return readers

    def task(self, *options: str, before: tuple[str, ...] = ()) -> "Inside":
        """A process inside a new task; ``before`` is what becomes ``secretfs run``."""
        inside = Inside(self, options, before)
        self._tasks.append(inside)
        return inside

    def end(self) -> int:
        """SIGTERM, and its exit code within the five seconds that are promised."""
        assert self._process
        self._process.terminate()
        return self._process.wait(5)

    def kill(self, *names: str) -> None:
        """SIGKILL of some, or of all."""
        pids = self._offspring() | {"supervisor": self.pid}
        if "fs" not in pids and (adopted := self.living_fs()):
            pids["fs"] = adopted[-1]
        for name in names or pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[name], signal.SIGKILL)
        if not names:
            self._kill_fs()
        if not names or "supervisor" in names:
            assert self._process
            self._process.wait(10)

    def _kill_fs(self) -> None:
        """It may be an older supervisor's child."""
        for pid in filter(self._is_ours, set(self._fs_pids())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ended(self) -> int:
        """Its exit code, when it ends by itself."""
        assert self._process
        return self._process.wait(READY_SECONDS)

    def read_to_end(self) -> None:
        """Wait until its last line is in ``lines``."""
        self._reader.join(READY_SECONDS)

    def arena(self) -> bytes:
        """All of the arena's memory, as the supervisor holds it."""
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if "secretfs-arena" in os.readlink(fd):
                    return _sparse(fd)
        raise AssertionError("no arena")

    def clean_up(self) -> None:
        for task in self._tasks:
            task.kill()
        for reader in self._readers:
            with reader:
                reader.kill()
        if self._process:
            with contextlib.suppress(OSError):
                self.kill()
            self._kill_fs()
            for pid in _processes_of(self.root):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(10)
            self._reader.join(10)
        while _mounted(self.mountpoint):
            subprocess.run(["umount", "--lazy", self.mountpoint], check=True)


class Inside:
    """A process inside a task."""

    def __init__(self, daemon: Daemon, options: tuple[str, ...], before: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [*before, *daemon.program, "run", *options, "--", sys.executable, INSIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=daemon.environment,
        )
        self.pid = self._process.pid
        try:
            assert self._heard() == self.pid, "secretfs run execs in place"
        except AssertionError:
            self.kill()
            raise

    def do(self, op: str, *args: object):
        """What it yields; OSError's name as an Error."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([op, *args]) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self):
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the process inside the task ended: {self._process.wait(5)}"
        reply = json.loads(line)
        return Errno(reply["error"]) if "error" in reply else reply["value"]

    def cat(self, path: str) -> "bytes | Errno":
        found = self.do("cat", f"/run/secrets/{path}")
        return found if isinstance(found, Errno) else bytes.fromhex(found)

    def stop(self) -> int:
        """End it in good order."""
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()
            return self._process.wait(10)

    def kill(self) -> None:
        with self._process:
            self._process.kill()


class Errno(str):
    """The name of an errno."""

    __slots__ = ()


def report_of(reader: subprocess.Popen) -> dict:
    """What a reader has seen until now; it ends."""
    reader.terminate()
    return json.loads(reader.communicate(timeout=ANSWER_SECONDS)[0].splitlines()[-1])


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._path)


def _sparse(path: Path) -> bytes:
    """The bytes of a sparse file that were ever written, holes left out."""
    found = []
    fd = os.open(path, os.O_RDONLY)
    try:
        end, at = os.fstat(fd).st_size, 0
        while at < end:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(fd, at, os.SEEK_HOLE)
            while at < hole:
                chunk = os.pread(fd, min(hole - at, 1 << 20), at)
                found.append(chunk)
                at += len(chunk)
    finally:
        os.close(fd)
    return b"".join(found)


def _processes_of(root: Path) -> list[int]:
    found = []
    for entry in list(Path("/proc").iterdir()):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if str(root).encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())
