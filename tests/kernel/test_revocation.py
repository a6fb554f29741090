"""Grants come and go while tasks run, down to descriptors that are open already."""

import os
import select
import socket
import subprocess
import sys
import time

import pytest
from daemons import SECRETFS

pytestmark = pytest.mark.kernel

DB, OTHER = b"This is a secret", b"This is another secret"
# Read on with the leader gone: says so, waits for a line, ends.
READER = "cat /run/secrets/db; echo; read end; cat /run/secrets/db; echo; read end"
# The main thread alone calls exit(2): the process is a zombie in /proc, and lives.
ZOMBIE = """
import ctypes, threading
def reader():
    for _ in range(2):
        print(open("/run/secrets/db").read(), flush=True)
        input()
threading.Thread(target=reader).start()
ctypes.CDLL(None).syscall(60, 0)
"""
FLUSH_SECONDS = 0.1  # from the end of a task's last process to the refusal of its descriptors


@pytest.fixture(scope="module")
def secrets(shared_daemon):
    shared_daemon.secret("db", DB)
    shared_daemon.secret("other", OTHER)
    return shared_daemon


@pytest.fixture
def web(secrets, request):
    """A service with one secret; removed afterwards."""
    name = f"web-{abs(hash(request.node.name))}"
    secrets.cli("service", "create", "--secret", "db", name)
    yield name
    secrets.cli("service", "rm", name, check=False)


def test_an_open_descriptor_is_refused_when_the_update_has_returned(secrets, web):
    task = secrets.task("--service", web)
    fd = task.do("open", "/run/secrets/db")
    assert bytes.fromhex(task.do("read", fd, 100)) == DB
    secrets.cli("service", "update", "--secret-rm", "db", web)
    assert task.do("read", fd, 100) == "EACCES"
    assert task.do("fstat", fd) == "EACCES"
    assert task.cat("db") == "ENOENT"
    assert task.do("ls", "/run/secrets") == []


def test_a_grant_is_there_when_the_update_has_returned_even_where_it_was_looked_for_before(secrets, web):
    task = secrets.task("--service", web)
    assert task.cat("other") == "ENOENT"
    assert task.cat("sub/other") == "ENOENT"
    secrets.cli("service", "update", "--secret-add", "other", "--secret-add", "source=other,target=sub/other", web)
    assert (task.cat("other"), task.cat("sub/other")) == (OTHER, OTHER)


def test_a_target_that_gets_another_secret_is_never_absent_and_its_old_descriptors_are_refused(secrets, web):
    task = secrets.task("--service", web)
    before, fd = task.do("stat", "/run/secrets/db"), task.do("open", "/run/secrets/db")
    secrets.cli("service", "update", "--secret-rm", "db", "--secret-add", "source=other,target=db,mode=0400", web)
    assert task.do("read", fd, 100) == "EACCES"
    assert task.cat("db") == OTHER
    after = task.do("stat", "/run/secrets/db")
    assert (after[2:4], after[4]) == (["400", len(OTHER)], before[4])


def test_another_owner_and_mode_show_at_once_and_open_descriptors_read_on(secrets, web):
    task = secrets.task("--service", web)
    fd = task.do("open", "/run/secrets/db")
    secrets.cli("service", "update", "--secret-rm", "db", "--secret-add", "source=db,uid=7,gid=8,mode=0400", web)
    assert task.do("stat", "/run/secrets/db")[:3] == [7, 8, "400"]
    assert bytes.fromhex(task.do("read", fd, 100)) == DB


def test_a_mapping_of_a_revoked_file_shows_its_bytes_no_more(secrets, web):
    task = secrets.task("--service", web)
    fd = task.do("map", task.do("open", "/run/secrets/db"))
    assert bytes.fromhex(task.do("peek", fd, len(DB))) == DB
    secrets.cli("service", "update", "--secret-rm", "db", web)
    with pytest.raises(AssertionError, match="ended: -7"):  # SIGBUS
        task.do("peek", fd, len(DB))


def test_removing_the_service_flushes_its_tasks(secrets, web):
    task = secrets.task("--service", web)
    fd = task.do("open", "/run/secrets/db")
    secrets.cli("service", "rm", web)
    assert task.do("read", fd, 100) == "EACCES"
    assert task.cat("db") == "ENOENT"
    assert secrets.out("ps", "-q") == ""


def test_detach_flushes_the_task_and_leaves_its_process(secrets, web):
    task = secrets.task("--service", web)
    fd = task.do("open", "/run/secrets/db")
    secrets.cli("detach", secrets.out("ps", "-q"))
    assert task.do("read", fd, 100) == "EACCES"
    assert task.cat("db") == "ENOENT"


def test_one_task_of_two_goes_and_the_other_reads_on(secrets, web):
    staying, going = secrets.task("--service", web), secrets.task("--service", web)
    assert going.stop() == 0
    _until_no_more_tasks_than(secrets, 1)
    assert staying.cat("db") == DB


def test_a_secret_in_use_cannot_be_removed_until_its_task_has_ended(secrets):
    secrets.secret("used", b"in use")
    task = secrets.task("--secret", "used")
    refused = secrets.cli("secret", "rm", "used", check=False)
    assert refused.returncode == 1
    assert "secret 'used' is in use by the following task" in refused.stderr.decode()
    task.stop()
    _until_no_more_tasks_than(secrets, 0)
    assert secrets.out("secret", "rm", "used") == "used"


def test_a_descriptor_that_was_passed_outside_is_refused_when_the_last_process_has_ended(secrets, web, tmp_path):
    task = secrets.task("--service", web)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = os.pidfd_open(task.do("fork", str(fifo)))
    fd = _taken_from(task, tmp_path)
    try:
        assert task.stop() == 0
        assert os.pread(fd, 100, 0) == DB, "a child of the task still lives"
        os.close(os.open(fifo, os.O_WRONLY))
        _wait(child)
        ended = time.monotonic()
        while _readable(fd):
            assert time.monotonic() - ended < FLUSH_SECONDS, "the descriptor is read after the task's end"
        assert secrets.out("ps", "-q") == ""
    finally:
        os.close(fd)
        os.close(child)


@pytest.mark.parametrize(
    "child",
    [
        ["unshare", "-m", "sh", "-c", READER],
        ["unshare", "-Urm", "sh", "-c", READER],
        ["unshare", "-m", "unshare", "-m", "sh", "-c", READER],
        [sys.executable, "-c", ZOMBIE],
        ["unshare", "-m", sys.executable, "-c", ZOMBIE],
    ],
    ids=["mount namespace", "user namespace", "twice", "main thread exited", "both"],
)
def test_a_task_lives_as_long_as_any_process_that_has_its_tree(secrets, web, child, tmp_path):
    """Attack on issue 2: the leader's end flushed what sandboxes and multi-threaded programs were reading."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = 'fifo=$1; shift; "$@" <"$fifo" & read end'
    with subprocess.Popen(
        [SECRETFS, "run", "--service", web, "--", "sh", "-c", program, "sh", str(fifo), *child],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=secrets.environment,
    ) as task:  # fmt: skip
        writing = os.open(fifo, os.O_WRONLY)
        assert task.stdout.readline() == DB + b"\n"
        fd = os.open(f"/proc/{task.pid}/root/run/secrets/db", os.O_RDONLY)
        task.stdin.close()
        assert task.wait(5) == 1, "read sees the end of its input"
        _until_scanned(secrets)
        assert os.pread(fd, 100, 0) == DB
        os.write(writing, b"\n")
        assert task.stdout.readline() == DB + b"\n"
        os.write(writing, b"\n")
        assert task.stdout.read() == b"", "the last process has ended"
        ended = time.monotonic()
        while _readable(fd):
            assert time.monotonic() - ended < FLUSH_SECONDS, "the descriptor is read after the task's end"
    for each in (fd, writing):
        os.close(each)
    assert secrets.out("ps", "-q") == ""


def test_a_grant_of_a_missing_secret_fails_before_the_program_starts(secrets, tmp_path):
    mark = tmp_path / "started"
    refused = secrets.cli("run", "--secret", "nope", "--", "touch", str(mark), check=False)
    assert refused.returncode == 125
    assert refused.stderr.decode().splitlines()[0] == "secretfs: error: secret not found: nope"
    assert not mark.exists()


def _taken_from(task, tmp_path) -> int:
    """A descriptor of the task's file, held by this process, which is outside of it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hand"))
        listener.listen()
        task.do("give", task.do("open", "/run/secrets/db"), str(tmp_path / "hand"))
        with listener.accept()[0] as end:
            return socket.recv_fds(end, 1, 1)[1][0]


def _until_scanned(daemon) -> None:
    """Until another task has begun and has ended: by then who is left of the first has been looked for, too."""
    daemon.cli("run", "--secret", "other", "--", "true")
    _until_no_more_tasks_than(daemon, 1)


def _wait(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(5000)


def _readable(fd: int) -> bool:
    try:
        return bool(os.pread(fd, 1, 0))
    except PermissionError:
        return False


def _until_no_more_tasks_than(daemon, count: int) -> None:
    """The end of a task is seen by its pidfd; ask until the daemon has seen it, for five seconds at the most."""
    deadline = time.monotonic() + 5
    while len(daemon.out("ps", "-q").split()) > count:
        assert time.monotonic() < deadline
