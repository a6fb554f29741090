import os
import signal
import socket
from pathlib import Path

import pytest

from secretfs.linux import landlock


def outcome(act) -> str:
    try:
        act()
    except OSError as exc:
        return type(exc).__name__
    return "done"


@pytest.fixture
def places(tmp_path):
    for name in ("open", "writable", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path


def test_the_kernel_of_the_test_machine_has_landlock():
    assert landlock.abi() >= 1


def test_only_what_is_listed_is_left(child, places):
    def act():
        abi = landlock.restrict(read=[str(places / "open")], write=[str(places / "writable")])
        return [
            abi == landlock.abi(),
            (places / "open" / "file").read_text(),
            outcome(lambda: (places / "open" / "file").write_text("x")),
            outcome((places / "closed" / "file").read_text),
            outcome(lambda: os.listdir(places / "closed")),
            outcome(lambda: (places / "writable" / "file").write_text("y")),
            outcome(lambda: (places / "writable" / "new").write_text("z")),
            outcome((places / "writable" / "new").unlink),
            outcome(lambda: os.execv("/bin/true", ["true"])),
        ]

    denied = "PermissionError"
    assert child(act) == [True, "open", denied, denied, denied, "done", "done", "done", denied]


def test_a_single_file_is_listed(child, places):
    def act():
        landlock.restrict(read=[str(places / "open" / "file")])
        return [(places / "open" / "file").read_text(), outcome(lambda: os.listdir(places / "open"))]

    assert child(act) == ["open", "PermissionError"]


def test_a_single_file_is_written(child, places):
    def act():
        landlock.restrict(write=[str(places / "open" / "file")])
        return [outcome(lambda: (places / "open" / "file").write_text("new")), (places / "open" / "file").read_text()]

    assert child(act) == ["done", "new"]


def test_what_was_open_before_still_works(child, places):
    def act():
        file = os.open(places / "closed" / "file", os.O_RDONLY)
        landlock.restrict()
        return os.read(file, 100).decode()

    assert child(act) == "closed"


def test_no_new_privileges_come_with_it(child):
    def act():
        landlock.restrict()
        return outcome(lambda: Path("/proc/self/status").read_text())

    assert child(act) == "PermissionError"


def test_execution_is_allowed_by_name(child):
    def act():
        landlock.restrict(read=["/"], execute=["/bin", "/usr", "/lib", "/lib64"])
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/true", ["true"])
        return os.waitpid(pid, 0)[1]

    assert child(act) == 0


def test_tcp_and_signals_and_abstract_sockets_are_denied_where_the_kernel_can(child):
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0secretfs-test-{os.getpid()}")
    abstract.listen()
    listener = socket.create_server(("127.0.0.1", 0))
    parent = os.getpid()

    def act():
        abi = landlock.restrict()
        seen = [
            outcome(lambda: socket.create_connection(listener.getsockname(), 1)),
            outcome(lambda: os.kill(parent, 0)),
            outcome(lambda: os.kill(os.getpid(), 0)),
            outcome(lambda: socket.socket(socket.AF_UNIX).connect(abstract.getsockname())),
        ]
        want = [
            "PermissionError" if abi >= 4 else "done",
            "PermissionError" if abi >= 6 else "done",
            "done",
            "PermissionError" if abi >= 6 else "done",
        ]
        return [seen, want]

    with abstract, listener:
        seen, want = child(act)
    assert seen == want


def test_signals_to_others_are_left_to_who_needs_them(child):
    parent = os.getpid()

    def act():
        landlock.restrict(signals=True)
        return [outcome(lambda: os.kill(parent, 0)), outcome(lambda: os.listdir("/"))]

    assert child(act) == ["done", "PermissionError"]


def test_a_path_that_is_not_there_restricts_nothing(child):
    def act():
        seen = outcome(lambda: landlock.restrict(read=["/no/such/path"]))
        return [seen, outcome(lambda: os.listdir("/etc"))]

    assert child(act) == ["FileNotFoundError", "done"]


@pytest.mark.parametrize(("version", "size"), [(1, 8), (2, 8), (3, 8), (4, 16), (5, 16), (6, 24), (7, 24), (99, 24)])
def test_an_older_kernel_gets_the_ruleset_that_it_knows(version, size):
    assert landlock._ruleset_size(version) == size


@pytest.mark.parametrize(
    ("version", "rights"), [(1, 0x1FFF), (2, 0x3FFF), (3, 0x7FFF), (4, 0x7FFF), (5, 0xFFFF), (7, 0xFFFF)]
)
def test_an_older_kernel_is_asked_for_the_rights_that_it_knows(version, rights):
    assert landlock._fs_rights(version) == rights


def test_without_landlock_the_caller_is_told(child):
    def act():
        landlock._SYS_CREATE_RULESET = 100_000
        abi = landlock.restrict(read=["/no/such/path"])
        status = Path("/proc/self/status").read_text()
        return [abi, "NoNewPrivs:\t1" in status]

    assert child(act) == [0, True]


def test_signals_between_its_own_processes_still_go(child):
    def act():
        landlock.restrict()
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.kill(pid, signal.SIGTERM)
        return os.WTERMSIG(os.waitpid(pid, 0)[1])

    assert child(act) == signal.SIGTERM
