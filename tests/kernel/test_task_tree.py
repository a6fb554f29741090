"""What a task sees of its tree."""

import os

import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def task(shared_daemon):
    shared_daemon.secret("db", b"This is a secret")
    shared_daemon.secret("other", b"not granted")
    grants = [
        "db",
        "source=db,target=owned,uid=103,gid=104,mode=0440",
        "source=db,target=private,uid=7,gid=8,mode=0400",
        "source=db,target=program,mode=0555",
        "source=db,target=shown,mode=0666",
        "source=db,target=deep/down/below",
    ]
    return shared_daemon.task(*[word for grant in grants for word in ("--secret", grant)])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("db", [0, 0, "444", 16]),
        ("owned", [103, 104, "440", 16]),
        ("private", [7, 8, "400", 16]),
        ("program", [0, 0, "555", 16]),
        ("shown", [0, 0, "666", 16]),
        ("deep/down/below", [0, 0, "444", 16]),
        ("deep/down", [0, 0, "755", 0]),
        ("", [0, 0, "755", 0]),
    ],
)
def test_each_target_has_its_own_owner_and_mode(task, target, expected):
    assert task.do("stat", f"/run/secrets/{target}")[:4] == expected


def test_every_target_of_a_secret_holds_its_bytes(task):
    assert {task.cat(target) for target in ("db", "owned", "deep/down/below")} == {b"This is a secret"}


def test_what_was_not_granted_is_not_there(task):
    assert task.cat("other") == "ENOENT"
    assert task.do("ls", "/run/secrets") == ["db", "deep", "owned", "private", "program", "shown"]


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("open", ("/run/secrets/db", "O_WRONLY")),
        ("open", ("/run/secrets/db", "O_RDWR")),
        ("open", ("/run/secrets/shown", "O_RDWR")),
        ("mkdir", ("/run/secrets/new",)),
        ("mknod", ("/run/secrets/new",)),
        ("unlink", ("/run/secrets/db",)),
        ("rmdir", ("/run/secrets/deep",)),
        ("rename", ("/run/secrets/db", "/run/secrets/new")),
        ("link", ("/run/secrets/db", "/run/secrets/new")),
        ("symlink", ("db", "/run/secrets/new")),
        ("chmod", ("/run/secrets/db", 0o777)),
        ("chown", ("/run/secrets/db", 1, 1)),
        ("truncate", ("/run/secrets/db", 0)),
        ("utime", ("/run/secrets/db",)),
    ],
)
def test_nothing_can_be_written(task, op, args):
    assert task.do(op, *args) == "EROFS"


@pytest.mark.parametrize(("length", "expected"), [(255, "ENOENT"), (256, "ENAMETOOLONG"), (300, "ENAMETOOLONG")])
def test_a_name_over_255_bytes_is_too_long(task, length, expected):
    assert task.cat("x" * length) == expected


def test_a_file_is_not_executed(task):
    pid = os.fork()
    if pid == 0:
        os.execvp("nsenter", ["nsenter", "-t", str(task.pid), "-m", "/run/secrets/program"])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 126


def test_the_mountpoint_lists_nothing_and_is_for_root_alone(shared_daemon, task):
    assert os.listdir(shared_daemon.mountpoint) == []
    assert os.stat(shared_daemon.mountpoint).st_mode & 0o7777 == 0o700


def test_root_in_a_task_does_not_find_the_trees_of_others(shared_daemon, task):
    ours = shared_daemon.out("ps", "-q").split()[0]
    assert task.do("ls", str(shared_daemon.mountpoint)) == []
    assert task.do("stat", f"{shared_daemon.mountpoint}/{ours}/secrets") == "ENOENT"


def test_the_tree_is_not_seen_outside_the_task(task):
    assert not os.path.exists("/run/secrets/db")


def test_a_value_of_every_size_is_read_back_identical(shared_daemon):
    values = {f"size-{size}": os.urandom(size) for size in (1, 4095, 4096, 4097, 131072, 511_999)}
    for name, value in values.items():
        shared_daemon.secret(name, value)
    task = shared_daemon.task(*[word for name in values for word in ("--secret", name)])
    assert {name: task.cat(name) for name in values} == values


@pytest.mark.parametrize("size", [0, 512_000, 600_000])
def test_a_value_of_no_size_or_too_much_is_refused(shared_daemon, size):
    refused = shared_daemon.cli("secret", "create", "wrong", "-", input=b"x" * size, check=False)
    assert refused.returncode == 1
    expected = (
        "secretfs: error: secret data must be larger than 0 and less than 512000 bytes"
        if size
        else "secretfs: error: error reading from STDIN: data is empty"
    )
    assert refused.stderr.decode().splitlines()[0] == expected
