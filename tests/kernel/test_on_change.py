"""A task is told of a change: by a signal, by a command, and by inotify. After the new bytes can be read, once."""

import base64
import contextlib
import hashlib
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from daemons import ANSWER_SECONDS, SECRETFS, Unix

from secretfs.control.telling import BURST_SECONDS

pytestmark = pytest.mark.kernel

HEARING = str(Path(__file__).with_name("hearing.py"))
QUIET_SECONDS = 1.5  # in which nothing must come: ten times what a burst waits for


class Program:
    """A program in a task, and its lines as they come."""

    def __init__(self, daemon, *command: str, options: tuple[str, ...] = ("--service", "web")) -> None:
        self._process = subprocess.Popen(
            [SECRETFS, "run", *options, "--", *command], stdout=subprocess.PIPE, text=True, env=daemon.environment
        )
        self.pid = self._process.pid
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def line(self) -> str:
        return self._lines.get(timeout=ANSWER_SECONDS)

    def nothing_more(self) -> bool:
        try:
            self._lines.get(timeout=QUIET_SECONDS)
        except queue.Empty:
            return True
        return False

    def end(self) -> None:
        with self._process:
            self._process.kill()
            self._thread.join(ANSWER_SECONDS)


alone = pytest.mark.parametrize("web", ["daemon"], indirect=True, ids=[""])  # a test that kills or locks it


@pytest.fixture
def web(request):
    """A daemon with a service; most tests share it, one after the other."""
    daemon = request.getfixturevalue(getattr(request, "param", "shared_daemon"))
    daemon.secret("db", b"first")
    daemon.cli("service", "create", "--secret", "db", "--on-change", "signal:HUP", "web")
    yield daemon
    if not hasattr(request, "param"):
        daemon.empty()


@pytest.fixture
def program(web):
    started = []

    def start(*command: str, **options) -> Program:
        started.append(Program(web, *command, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def hearing(program):
    found = program(sys.executable, HEARING)
    assert found.line() == shown(db=b"first")
    return found


def shown(**files: bytes) -> str:
    return " ".join(f"{name}={hashlib.sha256(value).hexdigest()}" for name, value in sorted(files.items()))


def update(daemon, value: bytes, name: str = "db") -> None:
    daemon.cli("secret", "update", name, "-", input=value)


# -- signals -----------------------------------------------------------------------------------------------------------


def test_the_signal_comes_after_the_new_bytes_can_be_read_and_once_for_each_change(web, hearing):
    for number in range(3):
        value = os.urandom(1000) + bytes([number])
        update(web, value)
        assert hearing.line() == shown(db=value)
        assert hearing.nothing_more()


def test_equal_bytes_are_no_change_however_they_come(web, hearing):
    update(web, b"first")
    web.cli("service", "update", "--label-add", "a=b", "web")
    web.secret("same", b"first")
    web.grant("web", {"db": "same"})  # another secret with the same bytes, at the same target
    assert hearing.nothing_more()
    update(web, b"second", "same")
    assert hearing.line() == shown(db=b"second")


def test_a_burst_gives_one_and_the_last_is_in_it(web, hearing):
    ids = [web.secret(f"s{number}", b"%d" % number) for number in range(3)]
    assert ids
    began = time.monotonic()
    for number in range(3):
        web.grant("web", {"db": f"s{number}"})
    burst = time.monotonic() - began
    found = [hearing.line()]
    while found[-1] != shown(db=b"2"):
        found.append(hearing.line())
    assert hearing.nothing_more()
    assert len(found) == 1 or burst > BURST_SECONDS, "only a slow machine makes several of it"


def test_a_grant_that_comes_or_goes_is_a_change(web, hearing):
    web.secret("more", b"more")
    web.cli("service", "update", "--secret-add", "more", "web")
    assert hearing.line() == shown(db=b"first", more=b"more")
    web.cli("service", "update", "--secret-rm", "more", "web")
    assert hearing.line() == shown(db=b"first")


def test_without_on_change_nothing_is_said_and_setting_it_is_no_change(web, hearing):
    web.cli("service", "update", "--on-change", "", "web")
    update(web, b"second")
    assert hearing.nothing_more()
    web.cli("service", "update", "--on-change", "signal:SIGHUP", "web")
    assert hearing.nothing_more()
    update(web, b"third")
    assert hearing.line() == shown(db=b"third")


@alone
def test_a_change_that_a_killed_control_did_not_tell_is_told_by_the_next(web, hearing):
    web.api("GET", "/services/web")
    value = b"told by the next"
    update(web, value)
    web.kill("secretfs.control") if "secretfs.control" in web.children() else web.kill("control")
    assert hearing.line() == shown(db=value)


@alone
def test_a_damaged_service_keeps_no_control_from_starting(web, hearing):
    service = web.api("GET", "/services/web")["ID"]
    with contextlib.closing(sqlite3.connect(web.state / "secretfs.db")) as database, database:
        changed = database.execute("UPDATE record SET value = x'00' WHERE key = ?", (f"service/{service}".encode(),))
        assert changed.rowcount == 1
    web.kill("control")
    web.wait_for("a service says what cannot be done")
    web.secret("new", b"value")
    assert web.end() == 0
    web.start()
    assert web.out("secret", "ls", "-q")
    assert web.children().keys() == {"fs", "control"}


def test_a_mount_gets_no_signal(web, tmp_path):
    (tmp_path / "place").mkdir()
    command = [SECRETFS, "mount", str(tmp_path / "place"), "--service", "web"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=web.environment) as mounted:
        assert mounted.stdout.readline()
        update(web, b"second")
        watch = subprocess.run(
            ["inotifywait", "-q", "-t", "1", tmp_path / "place"], capture_output=True
        )  # a second in which a signal would have ended it
        assert watch.returncode in (0, 2)
        assert mounted.poll() is None
        assert (tmp_path / "place" / "db").read_bytes() == b"second"
        mounted.terminate()
        assert mounted.wait(ANSWER_SECONDS) == 0


@pytest.mark.parametrize("act", ["signal:KILL", "signal:64", "HUP", "exec:", "exec: ", "signal:"])
def test_what_cannot_be_done_is_refused(web, act):
    refused = web.cli("service", "update", "--on-change", act, "web", check=False)
    assert refused.returncode == 2
    assert b"on-change" in refused.stderr


# -- commands ----------------------------------------------------------------------------------------------------------

LOOK = """
{ id -u; id -G; pwd; cat /run/secrets/db; echo; echo "$SECRETFS_SERVICE $SECRETFS_CHANGED ${#SECRETFS_TASK}"
  grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs|SigBlk' /proc/self/status | tr -d '\\t'; env | sort | cut -d= -f1 | tr '\\n' ' '
  ls /proc/self/fd | tr '\\n' ' '; } > "$0".part 2>&1
""".strip()


@pytest.fixture
def out():
    """A file that everybody may write to; the directories of tests are closed to all but root."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        found = Path(directory, "out")
        found.touch()
        found.chmod(0o666)
        yield found


def test_a_command_runs_as_the_leader_would_without_any_right(web, program, out):
    script = LOOK.replace('"$0".part', str(out))
    web.cli("service", "update", "--on-change", f"exec:{script}", "web")
    inside = program(
        "sh", "-c", "cd / && echo ready && exec sleep 600", options=("--service", "web", "--user", "nobody")
    )
    assert inside.line() == "ready"
    update(web, b"second")
    web.wait_for("task told of a change", code=0)
    lines = out.read_text().splitlines()
    assert lines[:4] == ["65534", "65534", "/", "second"]
    assert lines[4] == "web db 25"
    assert lines[5:10] == [
        "SigBlk:0000000000000000",
        "CapPrm:0000000000000000",
        "CapEff:0000000000000000",
        "CapBnd:0000000000000000",
        "NoNewPrivs:1",
    ]
    assert lines[10].split()[:5] == ["PATH", "PWD", "SECRETFS_CHANGED", "SECRETFS_SERVICE", "SECRETFS_TASK"]


def test_a_command_of_root_has_no_right_either_and_one_that_fails_is_said(web, program):
    web.cli("service", "update", "--on-change", "exec:mount -t tmpfs none /mnt", "web")
    inside = program("sh", "-c", "echo ready; exec sleep 600")
    assert inside.line() == "ready"
    update(web, b"second")
    assert web.wait_for("task told of a change")["code"] != 0
    assert " /mnt " not in Path(f"/proc/{inside.pid}/mountinfo").read_text()


# -- watchers ----------------------------------------------------------------------------------------------------------


def watched(program, *what: str) -> Program:
    """inotifywait inside the task; it says when its watches are there."""
    script = "exec inotifywait -m --format '%e %w%f' " + " ".join(what) + " 2>&1"
    found = program("sh", "-c", script)
    while found.line() != "Watches established.":
        continue
    return found


@pytest.mark.parametrize("place", ["/run/secrets/db", "/run/secrets"])
def test_who_watches_a_file_or_its_directory_wakes_for_a_rotation(web, program, place):
    web.cli("service", "update", "--on-change", "", "web")
    watching = watched(program, place)
    for value in (b"second", b"third"):
        update(web, value)
        assert watching.line() == "ATTRIB /run/secrets/db"
        assert watching.nothing_more()


def test_who_watches_a_directory_wakes_for_grants_that_come_and_go(web, program):
    web.cli("service", "update", "--on-change", "", "web")
    watching = watched(program, "/run/secrets")
    web.secret("more", b"more")
    web.cli("service", "update", "--secret-add", "more", "web")
    assert {watching.line(), watching.line()} == {"ATTRIB /run/secrets/more", "ATTRIB,ISDIR /run/secrets/"}
    web.cli("service", "update", "--secret-rm", "more", "web")
    assert watching.line().endswith("ATTRIB,ISDIR /run/secrets/")


def test_nobody_else_can_touch_a_file_though_he_makes_his_mount_writable(web, program):
    script = (
        "mount -o remount,bind,rw /run/secrets && touch /run/secrets/db; echo $?; echo x > /run/secrets/db; echo $?"
    )
    found = program("sh", "-c", script + "; stat -c %Y /run/secrets/db")
    lines = [found.line() for _ in range(3)]
    assert lines[:2] != ["0", "0"]
    assert "0" not in lines[:2]


# -- a locked store ----------------------------------------------------------------------------------------------------


def autolocked(daemon) -> bytes:
    daemon.cli("swarm", "update", "--autolock=true")
    return daemon.out("swarm", "unlock-key", "-q").encode()


@alone
def test_a_change_that_a_kill_left_for_the_unlock_is_shown_and_told_then(web, hearing):
    key = autolocked(web)
    os.kill(web.fs_pid(), signal.SIGSTOP)
    request = Unix(str(web.runtime / "api.sock"))
    body = {"Data": base64.b64encode(b"second").decode(), "Drain": 0}
    request.request("POST", "/secretfs/v1/secrets/db/versions", json.dumps(body), {"Content-Type": "application/json"})
    while len(web.api("GET", "/secretfs/v1/secrets/db/versions")) < 2:
        pass
    web.kill("control", "fs")
    request.close()
    web.wait_for("a tree lacks what it did not have before the store was locked")
    assert web.api("GET", "/info")["Swarm"]["LocalNodeState"] == "locked"
    assert hearing.nothing_more()
    [task] = web.api("GET", "/secretfs/v1/tasks")
    assert task["Lacking"] == 1
    inside = ("nsenter", "--target", str(task["PID"]), "--mount", "cat", "/run/secrets/db")
    assert subprocess.run(inside, capture_output=True, check=True).stdout == b"first"
    web.cli("swarm", "unlock", input=key)
    assert hearing.line() == shown(db=b"second")
    assert hearing.nothing_more()


@alone
def test_an_unlock_that_shows_the_same_bytes_again_tells_nobody(web, hearing):
    key = autolocked(web)
    web.kill()
    web.start()
    web.cli("swarm", "unlock", input=key)
    assert hearing.nothing_more()
    update(web, b"second")
    assert hearing.line() == shown(db=b"second")
