import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from secretfs.linux import process


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def capabilities() -> list[int]:
    return [int(status()[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")]


def ended_child() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_no_new_privs_is_set_for_good(child):
    def act():
        before = process.no_new_privs()
        process.set_no_new_privs()
        return [before, process.no_new_privs(), status()["NoNewPrivs"]]

    assert child(act) == [False, True, "1"]


def test_dumpable_is_set_and_read(child):
    def act():
        process.set_dumpable(False)
        seen = [process.dumpable()]
        process.set_dumpable(True)
        return [*seen, process.dumpable()]

    assert child(act) == [False, True]


def test_an_option_that_is_none_is_refused():
    with pytest.raises(OSError, match="Invalid argument"):
        process.prctl(9999)


def test_all_capabilities_are_dropped_from_every_set(child):
    def act():
        process.drop_capabilities()
        return capabilities()

    assert child(act) == [0, 0, 0, 0, 0]


def test_dropping_them_again_is_harmless(child):
    def act():
        process.drop_capabilities()
        process.drop_capabilities()
        return capabilities()

    assert child(act) == [0, 0, 0, 0, 0]


def test_an_unprivileged_process_without_bounding_set_drops_its_capabilities(child):
    def act():
        process.drop_bounding_set()
        process.drop_to(4321, 4322, [4323])
        process.drop_capabilities()
        return [capabilities(), status()["Uid"].split(), status()["Gid"].split(), os.getgroups()]

    assert child(act) == [[0] * 5, ["4321"] * 4, ["4322"] * 4, [4323]]


def test_the_bounding_set_is_not_dropped_without_the_capability_for_it(child):
    def act():
        process.drop_to(4321, 4322)
        try:
            process.drop_capabilities()
        except PermissionError:
            return capabilities()[3] != 0

    assert child(act) is True


def test_ids_are_dropped_for_good(child):
    def act():
        process.drop_to(4321, 4322)
        try:
            os.setuid(0)
        except PermissionError:
            return os.getgroups()

    assert child(act) == []


@pytest.mark.parametrize("name", ["plain", "a b c", "x) R 1 2", ") (", "((", "))"])
def test_state_and_start_are_read_whatever_the_name_is(name):
    reader, writer = os.pipe()
    stop_reader, stop_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        Path("/proc/self/comm").write_text(name)
        os.close(stop_writer)
        os.write(writer, b"r")
        os.read(stop_reader, 1)
        os._exit(0)
    os.read(reader, 1)
    try:
        assert process.process_state(pid) in "SR"
        now = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
        assert now - 1000 < process.start_ticks(pid) <= now + 1
    finally:
        for fd in (stop_writer, stop_reader, reader, writer):
            os.close(fd)
        os.waitpid(pid, 0)


def test_a_dead_process_that_nobody_reaped_is_a_zombie():
    pid = ended_child()
    assert process.process_state(pid) == "Z"
    os.waitpid(pid, 0)


def test_a_process_that_is_gone_is_said_to_be():
    pid = ended_child()
    os.waitpid(pid, 0)
    for question in (process.process_state, process.start_ticks):
        with pytest.raises(ProcessLookupError, match=f"process {pid}"):
            question(pid)


def test_the_start_of_a_process_does_not_change():
    assert process.start_ticks(os.getpid()) == process.start_ticks(os.getpid())


def test_the_boot_id_is_a_uuid():
    assert [len(part) for part in process.boot_id().split("-")] == [8, 4, 4, 4, 12]


def test_a_pidfd_names_its_process():
    fd = os.pidfd_open(os.getpid())
    try:
        assert process.pid_of(fd) == os.getpid()
    finally:
        os.close(fd)


def test_a_pidfd_of_a_process_that_was_reaped_names_nobody():
    pid = ended_child()
    fd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    try:
        with pytest.raises(ProcessLookupError):
            process.pid_of(fd)
    finally:
        os.close(fd)


def test_another_descriptor_is_no_pidfd(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="not a pidfd") as caught:
            process.pid_of(fd)
        assert caught.value.errno == errno.EBADF
    finally:
        os.close(fd)


def test_a_powerless_and_undumpable_process_still_reads_its_pidfds(child):
    fd = os.pidfd_open(os.getpid())

    def act():
        process.drop_bounding_set()
        process.drop_to(4321, 4322)
        process.drop_capabilities()
        process.set_no_new_privs()
        process.set_dumpable(False)
        return [process.pid_of(fd), process.start_ticks(os.getppid()) > 0, process.boot_id() != ""]

    try:
        assert child(act) == [os.getpid(), True, True]
    finally:
        os.close(fd)


def test_a_pidfd_of_a_thread_is_opened_with_its_flag():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as cat:
        fd = os.pidfd_open(cat.pid, process.PIDFD_THREAD)
        assert process.pid_of(fd) == cat.pid
        os.close(fd)
        cat.stdin.close()
