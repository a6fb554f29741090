import errno
import fcntl
import mmap
import os
import resource
from pathlib import Path

import pytest

from secretfs.linux import memory, process

PAGE = mmap.PAGESIZE
SIZE = 8 * PAGE


@pytest.fixture
def arena():
    fd = memory.memfd("arena", SIZE)
    yield fd
    os.close(fd)


def locked_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmLck"))


def map_flags(mapping: mmap.mmap) -> list[str]:
    start = f"{memory.address_of(mapping):x}-"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.startswith(start))
    return next(line for line in lines if line.startswith("VmFlags")).split()[1:]


def test_a_memfd_has_its_size_is_zero_and_does_not_outlive_an_exec(arena):
    assert os.fstat(arena).st_size == SIZE
    assert os.pread(arena, SIZE, 0) == bytes(SIZE)
    assert not os.get_inheritable(arena)
    assert os.readlink(f"/proc/self/fd/{arena}") == "/memfd:arena (deleted)"


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 0])
def test_nobody_changes_the_size_of_a_memfd(arena, size):
    with pytest.raises(PermissionError):
        os.ftruncate(arena, size)


def test_seals_are_read_and_closed(arena):
    assert memory.seals_of(arena) & memory.FIXED_SIZE == memory.FIXED_SIZE
    with pytest.raises(PermissionError):
        memory.add_seals(arena, fcntl.F_SEAL_WRITE)


def test_a_memfd_without_seals_can_grow():
    fd = memory.memfd("growing", PAGE, seals=0)
    os.ftruncate(fd, 2 * PAGE)
    assert os.fstat(fd).st_size == 2 * PAGE
    os.close(fd)


def test_what_is_no_memfd_has_no_seals(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        memory.seals_of(fd)
    os.close(fd)


def test_a_memfd_that_cannot_be_made_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
        memory.memfd("negative", -1)
    assert caught.value.errno == errno.EINVAL
    assert len(os.listdir("/proc/self/fd")) == before


def test_two_mappings_are_one_memory(arena):
    with memory.mapped(arena) as one, memory.mapped(arena, PAGE) as other:
        assert (len(one), len(other)) == (SIZE, PAGE)
        one[0:3] = b"abc"
        assert other[0:3] == b"abc"
        assert os.pread(arena, 3, 0) == b"abc"


def test_a_mapping_outlives_its_descriptor():
    fd = memory.memfd("short", PAGE)
    with memory.mapped(fd) as mapping:
        os.close(fd)
        mapping[0] = 7
        assert mapping[0] == 7


def test_a_part_is_locked_and_unlocked(arena):
    with memory.mapped(arena) as mapping:
        before = locked_kib()
        memory.mlock(mapping, PAGE, 2 * PAGE)
        assert locked_kib() - before == 2 * PAGE // 1024
        memory.munlock(mapping, PAGE, PAGE)
        assert locked_kib() - before == PAGE // 1024
        memory.munlock(mapping)
        assert locked_kib() == before


def test_all_of_a_mapping_is_locked_by_default(arena):
    with memory.mapped(arena) as mapping:
        before = locked_kib()
        memory.mlock(mapping)
        assert locked_kib() - before == SIZE // 1024
        assert "lo" in map_flags(mapping)


@pytest.mark.parametrize(("offset", "length"), [(-1, PAGE), (0, 0), (0, SIZE + 1), (SIZE, None), (PAGE, SIZE), (0, -1)])
def test_a_range_outside_the_mapping_is_refused(arena, offset, length):
    with memory.mapped(arena) as mapping, pytest.raises(ValueError, match=f"not inside a mapping of {SIZE} bytes"):
        memory.mlock(mapping, offset, length)


def test_the_limit_of_lockable_memory_is_said(child, arena):
    def act():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (PAGE, PAGE))
        process.drop_to(4321, 4322)
        try:
            memory.mlock(memory.mapped(arena))
        except OSError as exc:
            return [exc.errno, exc.filename]

    assert child(act) == [errno.ENOMEM, f"{SIZE} bytes of memory"]


def test_a_mapping_is_kept_out_of_dumps_and_forks(child, arena):
    with memory.mapped(arena) as mapping:
        memory.keep_out_of_dumps(mapping)
        memory.keep_out_of_forks(mapping)
        assert {"dd", "dc"} <= set(map_flags(mapping))
        start = f"{memory.address_of(mapping):x}-"
        maps = child(lambda: Path("/proc/self/maps").read_text())
        assert not any(line.startswith(start) for line in maps.splitlines())


def test_a_mapping_can_be_closed_after_its_address_was_asked(arena):
    mapping = memory.mapped(arena)
    assert memory.address_of(mapping, PAGE) - memory.address_of(mapping) == PAGE
    mapping.close()
    assert mapping.closed
