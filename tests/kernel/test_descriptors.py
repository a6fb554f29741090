"""What is open when a grant goes: every way to read it, every holder, every step of the revocation, every death."""

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemons import ANSWER_SECONDS

pytestmark = pytest.mark.kernel

SCRIPTED = str(Path(__file__).with_name("scripted_supervisor.py"))
STEPPED = str(Path(__file__).with_name("stepped_fs.py"))
VALUE = os.urandom(3 * mmap.PAGESIZE // 2).hex().encode()  # three pages
AGAIN = 50
MAPPER = """
import mmap, sys
memory = mmap.mmap(int(sys.argv[1]), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
print(chr(memory[0]), flush=True)
sys.stdin.readline()
print(chr(memory[0]), flush=True)
"""


def granted(daemon):
    """A task of a service with a secret, a descriptor of it, and one that is mapped; all of it was read."""
    daemon.secret("db", VALUE)
    daemon.cli("service", "create", "--secret", "db", "web")
    task = daemon.task("--service", "web")
    fd, mapped = (task.do("open", "/run/secrets/db") for _ in range(2))
    task.do("map", mapped)
    assert bytes.fromhex(task.do("read", fd, len(VALUE))) == VALUE
    assert bytes.fromhex(task.do("peek", mapped, len(VALUE))) == VALUE
    return task, fd, mapped


def revoke(daemon) -> None:
    daemon.cli("service", "update", "--secret-rm", "db", "web")


def ended_by_sigbus(task, op: str, *arguments: object) -> bool:
    with pytest.raises(AssertionError, match=f"ended: -{signal.SIGBUS:d}"):
        task.do(op, *arguments)
    return True


def test_a_revoked_descriptor_is_refused_every_time_and_in_every_way(daemon):
    task, fd, mapped = granted(daemon)
    path_only = task.do("open", "/run/secrets/db", "O_PATH")
    revoke(daemon)
    assert [task.do("read", fd, len(VALUE)) for _ in range(AGAIN)] == ["EACCES"] * AGAIN
    assert task.do("read", mapped, 1) == "EACCES", "though its pages were in the page cache"
    for way in ("readv", "sendfile", "splice", "fstat"):
        assert task.do(way, fd) == "EACCES", way
    assert task.do("reopened", fd) in ("ENOENT", "EACCES")
    assert task.do("reopened", path_only) in ("ENOENT", "EACCES")
    assert ended_by_sigbus(task, "mapped anew", fd)


def test_a_mapping_of_another_descriptor_of_the_same_file_goes_too(daemon):
    task, _, mapped = granted(daemon)
    revoke(daemon)
    assert ended_by_sigbus(task, "peek", mapped, 1)


def test_each_step_of_a_revocation_as_a_reader_and_as_a_mapping_see_it(idle_daemon, tmp_path):
    """Dead, then zeros, then invalidated: the rows of the table in the order of the steps."""
    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    scripts = json.dumps({"secretfs.fs": STEPPED})
    idle_daemon.start(command=(sys.executable, SCRIPTED, scripts, str(tmp_path / "gate")))
    task, fd, mapped = granted(idle_daemon)
    seen = []
    with ThreadPoolExecutor(1) as pool:
        update = pool.submit(revoke, idle_daemon)
        for step in ("notify_store", "invalidate_inode"):
            idle_daemon.wait_for("about to", act=step)
            seen.append((task.do("read", fd, 10), bytes.fromhex(task.do("peek", mapped, len(VALUE)))))
            os.write(gate, b"x")
        update.result()
    os.close(gate)
    assert seen == [("EACCES", VALUE), ("EACCES", bytes(len(VALUE)))]
    assert task.do("read", fd, 10) == "EACCES"
    assert ended_by_sigbus(task, "peek", mapped, 1)


@pytest.mark.parametrize("name", ["fs", "control", "supervisor"])
def test_a_descriptor_held_across_a_death_reads_on_and_is_refused_when_it_is_revoked(daemon, name):
    task, fd, mapped = granted(daemon)

    def dies() -> None:
        daemon.kill(name)
        if name == "supervisor":
            daemon.start()
        else:
            daemon.wait_for("child ready", module=f"secretfs.{name}")

    dies()
    assert bytes.fromhex(task.do("read", fd, len(VALUE))) == VALUE
    revoke(daemon)
    assert task.do("read", fd, 10) == "EACCES"
    dies()
    assert task.do("read", fd, 10) == "EACCES", "nobody who comes later serves it again"
    assert task.cat("db") == "ENOENT"
    assert ended_by_sigbus(task, "peek", mapped, 1)


@pytest.mark.parametrize("goes", ["revoked", "stopped", "killed"])
def test_a_descriptor_and_a_mapping_that_were_passed_outside_are_refused_there(daemon, tmp_path, goes):
    task, fd, _ = granted(daemon)
    outside = taken_from(task, fd, tmp_path)
    reader = Outside(outside)
    assert os.pread(outside, len(VALUE), 0) == VALUE
    if goes == "revoked":
        revoke(daemon)
    elif goes == "stopped":
        task.stop()
    else:
        task.kill()
    while goes != "revoked" and daemon.api("GET", "/secretfs/v1/tasks"):
        continue
    for _ in range(AGAIN):
        with pytest.raises(PermissionError):
            os.pread(outside, 1, 0)
    os.close(outside)
    assert reader.code() == -signal.SIGBUS


class Outside:
    """A process that is no part of the task, and has mapped the file. It touches it once more when it is told."""

    def __init__(self, fd: int) -> None:
        command = [sys.executable, "-c", MAPPER, str(fd)]
        self._process = subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline().strip() == VALUE[:1]

    def code(self) -> int:
        """How it ends."""
        self._process.communicate(b"again\n", timeout=ANSWER_SECONDS)
        return self._process.returncode


def taken_from(task, fd: int, tmp_path) -> int:
    """The task's descriptor, received by this process, which is outside of it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hand"))
        listener.listen()
        task.do("give", fd, str(tmp_path / "hand"))
        with listener.accept()[0] as end:
            return socket.recv_fds(end, 1, 1)[1][0]
