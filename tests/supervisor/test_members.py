"""Which processes are a task's: mount tables as text, and real processes in namespaces of their own."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.linux.namespaces import ns_inode
from secretfs.supervisor import members
from secretfs.supervisor.members import Look

TASK, OTHER = "0123456789012345678901234", "9" * 25
ROOT = "36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw"
WHOLE = "39 36 0:50 / /run/secretfs/mnt rw - fuse.secretfs secretfs rw"


def tree(root: str, *, device="0:50", kind="fuse.secretfs") -> str:
    return f"40 36 {device} {root} /run/secrets ro,nosuid shared:1 master:2 - {kind} secretfs rw"


class Machine:
    """Processes as (mount namespace, mount table), in the place of /proc; the daemon is in namespace 1."""

    def __init__(self, monkeypatch, processes, own_table=(ROOT, WHOLE)) -> None:
        self.processes = {str(pid): value for pid, value in processes.items()} | {"self": (1, own_table)}
        self.read: list[str] = []
        monkeypatch.setattr(members, "ns_inode", lambda pid, _: self.processes[str(pid)][0])
        monkeypatch.setattr(members, "_mount_table", self._table)
        monkeypatch.setattr(os, "listdir", lambda _: [*self.processes, "cpuinfo"])

    def _table(self, directory: str) -> bytes:
        name = directory.removeprefix("/proc/")
        self.read.append(name)
        return "".join(f"{line}\n" for line in self.processes[name][1]).encode()

    def look(self) -> Look:
        return Look({"0:50", "0:51"})


@pytest.mark.parametrize(
    ("table", "counts"),
    [
        ([ROOT, tree(f"/{TASK}/secrets")], True),
        ([ROOT, tree(f"/{TASK}/configs")], True),
        ([ROOT, tree(f"/{TASK}/secrets/sub/db")], True),
        ([tree(f"/{TASK}/secrets")], True),
        ([ROOT, tree(f"/{OTHER}/secrets"), tree(f"/{TASK}/secrets")], True),
        ([ROOT, tree(f"/{OTHER}/secrets")], False),
        ([ROOT, tree(f"/{TASK}")], False),
        ([ROOT, tree(f"/{TASK}/other")], False),
        ([ROOT, tree(f"/{TASK}/secretsx")], False),
        ([ROOT, tree(f"/x/{TASK}/secrets")], False),
        ([ROOT, tree(f"/{TASK}/secrets", device="0:51")], True),  # a dead mount, until it is repaired
        ([ROOT, tree(f"/{TASK}/secrets//deleted")], True),
        ([ROOT, tree(f"/{TASK}/secrets", device="0:52")], False),  # it only says that it is
        ([ROOT, tree(f"/{TASK}/secrets", device="0:5")], False),
        ([ROOT, tree(f"/{TASK}/secrets", kind="ext4")], False),
        ([ROOT, WHOLE], False),
        ([ROOT], False),
        ([], False),
    ],
)
def test_a_namespace_counts_by_its_mount_table(monkeypatch, table, counts):
    look = Machine(monkeypatch, {10: (2, table), 11: (2, table)}).look()
    assert look.members(TASK, 0) == ([10, 11] if counts else [])
    assert look.confirms(10, TASK, 0) is counts


@pytest.mark.parametrize(
    ("tables", "counts"),
    [
        ([[]], True),
        ([[], []], True),
        ([[ROOT.replace(" / / ", " / /srv ")]], True),
        ([[], [ROOT]], False),
        ([[ROOT], []], False),
        ([[ROOT]], False),
    ],
)
def test_the_recorded_namespace_counts_when_no_process_of_it_can_tell(monkeypatch, tables, counts):
    look = Machine(monkeypatch, {10 + at: (2, table) for at, table in enumerate(tables)}).look()
    assert bool(look.members(TASK, 2)) is counts
    assert look.members(TASK, 3) == []


def test_a_process_in_a_chroot_counts_by_another_of_its_namespace(monkeypatch):
    look = Machine(monkeypatch, {10: (2, []), 11: (2, [ROOT, tree(f"/{TASK}/secrets")]), 12: (3, [])}).look()
    assert look.members(TASK, 0) == [10, 11]


def test_a_namespace_is_asked_once(monkeypatch):
    machine = Machine(monkeypatch, {pid: (pid % 3 + 2, [ROOT]) for pid in range(10, 100)})
    machine.look()
    assert len(machine.read) == 3


def test_the_daemons_own_namespace_is_nobodys(monkeypatch):
    look = Machine(monkeypatch, {10: (1, [ROOT, tree(f"/{TASK}/secrets")])}).look()
    assert look.members(TASK, 1) == []


def test_a_process_that_went_on_into_a_namespace_of_its_own_is_confirmed(monkeypatch):
    machine = Machine(monkeypatch, {10: (2, [ROOT, tree(f"/{TASK}/secrets")])})
    look = machine.look()
    machine.processes["10"] = (3, machine.processes["10"][1])
    assert look.confirms(10, TASK, 0)
    machine.processes["10"] = (3, [ROOT])
    assert not look.confirms(10, TASK, 0)


@given(st.lists(st.sampled_from(["/", "/a", f"/{OTHER}/configs", f"/{TASK}/secrets", f"/x{TASK}/secrets"]), max_size=5))
def test_a_mount_of_the_tree_anywhere_in_the_table_counts(roots):
    with pytest.MonkeyPatch.context() as patch:
        look = Machine(patch, {10: (2, [ROOT, *map(tree, roots)])}).look()
        found = look.members(TASK, 0)
    assert bool(found) is (f"/{TASK}/secrets" in roots)


# -- real processes --------------------------------------------------------------------------------------------------

# The main thread alone calls exit(2); the process goes on until its input ends.
ZOMBIE = """
import ctypes, sys, threading
def thread():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        pass
    print("Z", flush=True)
    sys.stdin.read()
threading.Thread(target=thread).start()
ctypes.CDLL(None).syscall(60, 0)
"""


def test_a_process_whose_main_thread_has_ended_lives_in_the_namespace_of_the_others():
    with subprocess.Popen(
        ["unshare", "--mount", sys.executable, "-c", ZOMBIE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout.readline() == b"Z\n"
        home = members._home_of(program.pid)
        assert home is not None
        assert home.mnt != ns_inode("self", "mnt")
        assert members._ROOT.search(members._mount_table(home.directory))
        program.stdin.close()
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        assert members._home_of(program.pid) is None, "no thread lives"
    assert members._home_of(program.pid) is None
