"""A secret is rotated while tasks read it: each read is one version, whole; the old bytes end with the drain."""

import base64
import os
import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from daemons import report_of

pytestmark = pytest.mark.kernel

SIZE = 400_000
READERS = 2
ROTATIONS = 8
KILLS = 4
DRAIN_SECONDS = 2.0
LATE_SECONDS = 3.0  # by which a drain may end late on a machine that is busy, or whose fs was just killed
SAMPLE = 64  # bytes of each page of a value, by which it is found


def updated(daemon, value: bytes, drain: float, name: str = "db") -> int:
    body = {"Data": base64.b64encode(value).decode(), "Drain": drain}
    answer = daemon.api("POST", f"/secretfs/v1/secrets/{name}/versions", body)
    assert answer["Warnings"] == []
    return answer["Version"]


def until_arena_has_only(daemon, values: list[bytes], numbers: list[int]) -> None:
    """The bytes go as soon as the kernel was told of the refusal, which is first."""
    deadline = time.monotonic() + LATE_SECONDS
    while (left := left_in(daemon.arena(), values)) != numbers:
        assert time.monotonic() < deadline, left


def left_in(arena: bytes, values: list[bytes]) -> list[int]:
    """Numbers of the versions of which a piece is there."""
    return [
        number
        for number, value in enumerate(values, start=1)
        if any(value[at : at + SAMPLE] in arena for at in range(0, SIZE, 4096))
    ]


@pytest.fixture
def rotating(daemon):
    """A service that follows the secret under one name and pins version 1 under another."""
    values = [os.urandom(SIZE) for _ in range(ROTATIONS + KILLS + 2)]
    daemon.secret("db", values[0])
    daemon.cli("service", "create", "--secret", "db", "--secret", "source=db,target=sub/pinned,version=1", "web")
    return daemon, values


def bound_in(task, path: str) -> str:
    """A bind of the single file, in the task's namespace."""
    words = ["nsenter", f"--mount=/proc/{task.pid}/ns/mnt", "mount", "--bind", "/run/secrets/db", path]
    subprocess.run(words, check=True)
    return path


def until_refused(task, fd: int, value: bytes) -> float:
    """When the descriptor, which reads this until then, was refused."""
    while (found := task.do("read", fd, SIZE)) != "EACCES":
        assert bytes.fromhex(found) == value
    return time.monotonic()


def test_readers_see_one_version_whole_and_the_old_bytes_end_with_the_drain(rotating, tmp_path):
    daemon, values = rotating
    readers = daemon.readers(READERS, "web", {"db": values[: ROTATIONS + 1], "sub/pinned": values[:1]})
    task = daemon.task("--service", "web")
    (tmp_path / "bound").touch()
    bound = bound_in(task, str(tmp_path / "bound"))
    first = task.do("open", "/run/secrets/db")
    for number in range(2, ROTATIONS + 1):
        before = task.do("open", bound)
        assert updated(daemon, values[number - 1], drain=60) == number
        assert task.cat("db") == values[number - 1]
        assert bytes.fromhex(task.do("cat", bound)) == values[number - 1]
        assert task.cat("sub/pinned") == values[0]
        assert bytes.fromhex(task.do("read", before, SIZE)) == values[number - 2]
        task.do("close", before)
    last = task.do("open", bound)
    began = time.monotonic()
    newest = daemon.out("secret", "update", "--drain", f"{DRAIN_SECONDS:g}s", "db", "-", input=values[ROTATIONS])
    assert newest == str(ROTATIONS + 1)
    assert bytes.fromhex(task.do("read", last, SIZE)) == values[ROTATIONS - 1]
    over = until_refused(task, last, values[ROTATIONS - 1])
    assert DRAIN_SECONDS <= over - began <= DRAIN_SECONDS + LATE_SECONDS
    until_refused(task, first, values[0])
    until_arena_has_only(daemon, values, [1, ROTATIONS + 1])
    assert task.cat("sub/pinned") == values[0]
    reports = [report_of(reader) for reader in readers]
    assert [(report["errors"], report["wrong"]) for report in reports] == [([], 0)] * READERS
    assert all(report["reads"] > ROTATIONS for report in reports)


def test_no_drain_refuses_open_descriptors_when_the_update_has_returned(rotating):
    daemon, values = rotating
    task = daemon.task("--service", "web")
    fds = [task.do("open", f"/run/secrets/{target}") for target in ("db", "sub/pinned")]
    assert daemon.out("secret", "update", "--drain", "0", "db", "-", input=values[1]) == "2"
    assert task.do("read", fds[0], SIZE) == "EACCES"
    assert bytes.fromhex(task.do("read", fds[1], SIZE)) == values[0], "the pinned grant stays"
    assert task.cat("db") == values[1]


def test_a_drain_that_is_running_outlives_fs_and_control_and_ends_in_time(rotating):
    daemon, values = rotating
    task = daemon.task("--service", "web")
    updated(daemon, values[1], drain=60)
    fd = task.do("open", "/run/secrets/db")
    began = time.monotonic()
    updated(daemon, values[2], drain=DRAIN_SECONDS)
    for name in ("fs", "control", "fs"):
        daemon.kill(name)
        daemon.wait_for("child ready", module=f"secretfs.{name}")
        found = task.do("read", fd, SIZE)
        assert found == "EACCES" or bytes.fromhex(found) == values[1]
        assert found != "EACCES" or time.monotonic() - began >= DRAIN_SECONDS
        assert task.cat("db") == values[2]
    over = until_refused(task, fd, values[1])
    assert DRAIN_SECONDS <= over - began <= DRAIN_SECONDS + LATE_SECONDS
    until_arena_has_only(daemon, values, [1, 3])
    assert [use["Draining"] for use in daemon.api("GET", "/secretfs/v1/secrets/db/versions")] == [[]] * 3


def test_updates_during_which_fs_or_control_is_killed_are_not_noticed(rotating):
    daemon, values = rotating
    readers = daemon.readers(READERS, "web", {"db": values[: KILLS + 1], "sub/pinned": values[:1]})
    task = daemon.task("--service", "web")
    dice = random.Random(4)
    with ThreadPoolExecutor(1) as pool:
        for number in range(2, KILLS + 2):
            fd = task.do("open", "/run/secrets/db")
            update = pool.submit(updated, daemon, values[number - 1], drain=1)
            threading.Event().wait(dice.uniform(0, 0.03))
            name = dice.choice(["fs", "control"])
            daemon.kill(name)
            assert update.result() == number, "said again, it is there already"
            daemon.wait_for("child ready", module=f"secretfs.{name}")
            assert task.cat("db") == values[number - 1]
            until_refused(task, fd, values[number - 2])
    until_arena_has_only(daemon, values, [1, KILLS + 1])
    reports = [report_of(reader) for reader in readers]
    assert [(report["errors"], report["wrong"]) for report in reports] == [([], 0)] * READERS
