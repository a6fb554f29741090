"""What is read on a machine, from texts of other machines, and on this one."""

import os
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.doctor import machine, trial
from secretfs.doctor.daemon import arena_of, directory, key, mountpoint, running, sockets, store
from secretfs.doctor.facts import Answer, Mountpoint, Store
from secretfs.link.layout import ArenaLayout

MAX = 4 << 20
DATA = ArenaLayout(MAX).data
LIMITS = (
    "Max cpu time   unlimited   unlimited  seconds\nMax locked memory         8388608              8388608  bytes\n"
)


def vma(offset: int, size: int, *, locked: bool, swap: int = 0, name: str = "/memfd:secretfs-arena") -> str:
    head = f"7f000000-{0x7F000000 + size:x} rw-s {offset:08x} 00:01 77   {name} (deleted)"
    flags = "rd wr sh lo sd" if locked else "rd wr sh sd"
    return f"{head}\nSize:  {size >> 10} kB\nSwap:  {swap >> 10} kB\nLocked:  512 kB\nVmFlags: {flags}\n"


MAPS = (
    vma(0, DATA, locked=False)  # header and journals: no value
    + vma(DATA, 1 << 20, locked=True)
    + vma(DATA + (1 << 20), MAX - (1 << 20), locked=False, swap=4096)
)


def test_an_arena_is_locked_when_all_that_holds_values_is():
    found = arena_of(MAPS.replace("Swap:  4 kB", "Swap:  0 kB"), LIMITS, MAX, [range(8192), range(DATA, DATA + 4096)])
    assert (found.locked_bytes, found.loose_bytes, found.swapped_bytes) == (1 << 20, 0, 0)
    assert found.may_lock_bytes == 8 << 20


def test_values_in_memory_that_is_not_locked_are_counted():
    beyond = DATA + (1 << 20)
    held = [range(DATA - 4096, DATA + 4096), range(beyond - 4096, beyond + 8192)]
    found = arena_of(MAPS, LIMITS.replace("8388608", "unlimited"), MAX, held)
    assert (found.loose_bytes, found.swapped_bytes, found.may_lock_bytes) == (8192, 4096, None)


def test_other_mappings_are_not_the_arena():
    maps = "55-56 r-xp 00000000 00:00 0  [vdso]\nVmFlags: lo\n" + vma(DATA, 1 << 20, locked=True, name="/memfd:other")
    assert arena_of(maps, "", MAX, [range(DATA, DATA + 4096)]).loose_bytes == 4096


@given(st.text())
def test_no_text_breaks_the_parser_of_maps(text):
    arena_of(text, text, MAX, [])


@pytest.mark.parametrize(
    ("command_line", "config", "expected"),
    [
        ("quiet init_on_free=1", None, True),
        ("init_on_free=0", "\nCONFIG_INIT_ON_FREE_DEFAULT_ON=y\n", False),
        ("quiet", "\nCONFIG_INIT_ON_FREE_DEFAULT_ON=y\n", True),
        ("quiet", "# CONFIG_INIT_ON_FREE_DEFAULT_ON is not set\n", False),
        ("no_init_on_free=1", None, None),
        (None, None, None),
    ],
)
def test_the_command_line_decides_whether_memory_is_overwritten(command_line, config, expected):
    assert machine.init_on_free(command_line, config) is expected


def test_swap_is_known_by_its_device():
    table = "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n"
    assert [(swap.name, swap.compressed, swap.encrypted) for swap in machine.swaps(table)] == [
        ("/dev/zram0", True, False),
        ("/swapfile", False, False),
    ]


def test_options_of_a_mount_are_those_of_its_file_system():
    line = "22 27 0:21 / /proc rw,gid=9 shared:3 - proc proc rw,hidepid=invisible,gid=4"
    assert (machine.option(line, "hidepid"), machine.option(line, "gid"), machine.option(line, "uid")) == (
        "invisible",
        "4",
        None,
    )


def test_only_sockets_that_somebody_listens_on_are_found(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as bound:
        listening.bind(str(tmp_path / "api.sock"))
        listening.listen()
        bound.bind(str(tmp_path / "attach.sock"))
        found = sockets(str(tmp_path), machine.listening_sockets())
    assert [(each.name, each.listening, each.mode is None) for each in found] == [
        ("api.sock", True, False),
        ("attach.sock", False, False),
        ("handover.sock", False, True),
    ]


def test_what_is_not_there_is_told_from_what_cannot_be_seen(tmp_path):
    assert directory(str(tmp_path / "no")).mode is None
    assert store(str(tmp_path)) == Store(None, None)
    assert key(f"file:{tmp_path}/no").mode is None
    assert key("exec:pass show key").path is None
    assert running(str(tmp_path)) is None
    (tmp_path / "file").touch()
    assert mountpoint(str(tmp_path)) == Mountpoint(str(tmp_path), False, 1)
    assert mountpoint(str(tmp_path / "file")).entries == 1
    assert mountpoint("/proc").mounted
    assert store(str(tmp_path / "file")) is None


def test_this_machine_can_be_looked_at():
    found = machine.kernel()
    assert found.device.error == 0
    assert found.peer_pidfd_error == 0
    assert machine.host().uid == os.getuid()
    assert [user.role for user in machine.users()] == ["fs", "control"]
    assert [engine.name for engine in machine.engines(frozenset())] == ["docker", "podman"]


def test_a_look_that_does_not_end_is_left_behind():
    began = time.monotonic()
    assert trial.in_child(lambda: (time.sleep(60), 0)[1:] * 2, seconds=0.1) is None
    assert time.monotonic() - began < 5


def test_a_look_that_fails_is_an_errno():
    assert trial.answer_of("/") is Answer.LIVES
    assert trial.answer_of("/no such place") is Answer.UNSEEN
