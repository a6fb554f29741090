"""After its end a value is nowhere: neither in the memory of a process of secretfs nor in a file; and neither is the
data key, which would make a copy of its ciphertext. (Kernel and clients are not secretfs's: README.)
"""

import base64
import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from canary import Canary, Hit, Scanner, data_key
from daemons import Unix

pytestmark = pytest.mark.kernel

VISITS = str(Path(__file__).with_name("visits.py"))
TASKS = 300
SOON_SECONDS = 5.0
KILLS_WHILE_FILLED = 6
LONGEST_GRANT_SECONDS = 0.03


class Kept:
    """A daemon with a service that is granted one large secret, a task that has read and mapped it, and a search."""

    def __init__(self, daemon, name: str = "canary") -> None:
        self.daemon = daemon
        self.name = name  # of the secret, and of the service
        self.canary = Canary()
        object_id = daemon.secret(name, self.canary.value())
        self.scanner = Scanner(self.canary.needle, data_key(daemon.state, daemon.key, object_id))
        daemon.cli("service", "create", "--secret", f"source={name},target=canary", name)
        self.task = daemon.task("--service", name)
        self.read_and_mapped()

    def read_and_mapped(self) -> None:
        assert self.task.cat("canary") == self.canary.value()
        self.fd = self.task.do("open", "/run/secrets/canary")
        self.task.do("read", self.fd, self.canary.size)
        mapped = self.task.do("map", self.task.do("open", "/run/secrets/canary"))
        self.task.do("peek", mapped, self.canary.size)

    def left(self) -> list[Hit]:
        daemon = self.daemon
        return [*self.scanner.processes(daemon.processes()), *self.scanner.files(daemon.state, daemon.runtime)]

    def until_no_task_is_left(self) -> None:
        while self.daemon.api("GET", "/secretfs/v1/tasks"):
            continue


@pytest.fixture
def kept(daemon):
    return Kept(daemon)


@pytest.fixture
def among_others(shared_daemon, request):
    """With a daemon that has had others before it."""
    kept = Kept(shared_daemon, request.node.callspec.id)
    yield kept
    kept.task.kill()
    kept.until_no_task_is_left()


# -- how it goes -------------------------------------------------------------------------------------------------------


def stopped(kept) -> None:
    assert kept.task.stop() == 0
    kept.until_no_task_is_left()


def task_killed(kept) -> None:
    kept.task.kill()
    kept.until_no_task_is_left()


def revoked(kept) -> None:
    kept.daemon.cli("service", "update", "--secret-rm", kept.name, kept.name)


def service_removed(kept) -> None:
    kept.daemon.cli("service", "rm", kept.name)


def detached(kept) -> None:
    kept.daemon.cli("detach", kept.daemon.out("ps", "-q"))


def rotated_at_once(kept) -> None:
    kept.daemon.cli("secret", "update", "--drain", "0", kept.name, "-", input=b"another value")


def rotated_and_drained(kept) -> None:
    kept.daemon.cli("secret", "update", "--drain", "1s", kept.name, "-", input=b"another value")
    assert {hit.form for hit in kept.left()} <= {"value raw"}, "in the arena, while it drains"
    while kept.task.do("read", kept.fd, 1) != "EACCES":
        continue
    deadline = time.monotonic() + SOON_SECONDS
    while kept.scanner.content("arena", kept.daemon.arena()):
        assert time.monotonic() < deadline, "what is refused is wiped when the kernel was told"


def removed(kept) -> None:
    kept.daemon.cli("service", "rm", kept.name)
    kept.daemon.cli("secret", "rm", kept.name)


ENDS = [stopped, task_killed, revoked, service_removed, detached, rotated_at_once, rotated_and_drained, removed]


@pytest.mark.parametrize("goes", ENDS)
def test_nothing_is_left_of_a_value_that_went(among_others, goes):
    goes(among_others)
    assert among_others.left() == []


def fs_killed(daemon) -> None:
    daemon.kill("fs")
    daemon.wait_for("child ready", module="secretfs.fs")


def control_killed(daemon) -> None:
    daemon.kill("control")
    daemon.wait_for("child ready", module="secretfs.control")


def supervisor_killed(daemon) -> None:
    daemon.kill("supervisor")
    daemon.start()


KILLS = [fs_killed, control_killed, supervisor_killed]


@pytest.mark.parametrize("killed", KILLS)
def test_nothing_is_left_of_a_value_that_went_after_a_death(kept, killed):
    killed(kept.daemon)
    assert {(hit.form, "secretfs-arena" in hit.place) for hit in kept.left()} == {("value raw", True)}
    kept.read_and_mapped()
    revoked(kept)
    assert kept.left() == []


def test_nothing_is_left_of_values_that_were_on_their_way_when_fs_or_control_was_killed(kept):
    daemon, names, dice = kept.daemon, ("fs", "control"), random.Random(4)
    with ThreadPoolExecutor(1) as pool:
        for index in range(KILLS_WHILE_FILLED):
            revoked(kept)
            grant = pool.submit(daemon.grant, kept.name, {"canary": kept.name})
            threading.Event().wait(dice.uniform(0, LONGEST_GRANT_SECONDS))
            daemon.kill(names[index % 2])
            with contextlib.suppress(AssertionError):  # refused while control was away: said again
                grant.result()
            daemon.wait_for("child ready", module=f"secretfs.{names[index % 2]}")
            daemon.grant(kept.name, {"canary": kept.name})
            kept.read_and_mapped()
    revoked(kept)
    assert kept.left() == []


def test_sigterm_leaves_no_process_and_nothing_in_a_file(kept):
    pids = kept.daemon.processes()
    assert kept.daemon.end() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert kept.scanner.files(kept.daemon.root) == []


def test_nothing_is_left_of_three_hundred_tasks(kept):
    daemon = kept.daemon
    words = [sys.executable, VISITS, str(daemon.runtime / "attach.sock"), kept.name, "canary", str(TASKS)]
    done = subprocess.run(words, capture_output=True, env=daemon.environment)
    assert (done.returncode, int(done.stdout)) == (0, TASKS * kept.canary.size), done.stderr.decode()
    stopped(kept)
    assert kept.left() == []


# -- how it comes ------------------------------------------------------------------------------------------------------


def posted(daemon, path: str, value: bytes, *, chunked: bool = False, **fields: object) -> int:
    """The status of the answer to a value in JSON, as any client of the API sends it."""
    body = json.dumps({**fields, "Data": base64.b64encode(value).decode()}).encode()
    connection = Unix(str(daemon.runtime / "api.sock"))
    try:
        content = (body[at : at + 5000] for at in range(0, len(body), 5000)) if chunked else body
        connection.request("POST", path, content, {"Content-Type": "application/json"}, encode_chunked=chunked)
        return connection.getresponse().status
    finally:
        connection.close()


def test_nothing_is_left_of_a_value_that_was_created(daemon):
    canary, versions = Canary(), "/secretfs/v1/secrets/canary/versions"
    value = canary.value()
    object_id = daemon.secret("canary", value)
    statuses = [
        posted(daemon, "/secrets/create", value, Name="canary"),  # the name is taken
        posted(daemon, "/secrets/create", value, Name="no/name"),
        posted(daemon, "/secrets/create", value, Name="chunks", chunked=True),
        posted(daemon, "/secrets/create", value, chunked=True),
        posted(daemon, versions, value),  # equal: it is opened to be compared
        posted(daemon, versions, value[::-1]),
        posted(daemon, versions, value),
    ]
    assert statuses == [409, 400, 201, 400, 200, 201, 201]
    daemon.cli("secret", "rollback", "canary", "2")
    daemon.cli("secret", "rollback", "canary", "1")  # opened to be sealed anew
    keys = [data_key(daemon.state, daemon.key, object_id, number) for number in (1, 2, 3, 4, 5)]
    scanner = Scanner(canary.needle, *keys)
    assert scanner.processes(daemon.processes()) == []
    assert scanner.files(daemon.state, daemon.runtime) == []


def test_nothing_is_left_of_data_keys_that_were_wrapped_anew(kept):
    revoked(kept)
    kept.daemon.cli("key", "rotate")
    assert kept.left() == []
