"""The handlers, each for itself: what they answer, and what they never let out."""

import errno
import inspect
import json
import os
import struct
import sys
from itertools import pairwise
from types import SimpleNamespace

import pyfuse3
import pytest
from fs_kernel import CALLER, answer, entries
from fs_memory import journal_halves
from fs_world import entry, ref, tree, value_of, world
from pyfuse3 import FUSEError

from secretfs.core.names import Kind
from secretfs.fs import operations as operations_module
from secretfs.fs.operations import Operations
from secretfs.link.layout import TOUCH_OFFSET

T1 = "1" * 25
A1, B1 = ref("a"), ref("b")
NOWHERE = 2**62 + 11


@pytest.fixture(autouse=True)
def small_halves():
    with journal_halves(1 << 17, 1 << 14):
        yield


@pytest.fixture
async def fs():
    async with world() as made:
        await made.put(T1, tree(entry("a", A1, uid=3, mode=0o440), entry("d/b", B1), entry("c", A1, kind=Kind.CONFIG)))
        yield made


def refused(request) -> int:
    with pytest.raises(FUSEError) as refusal:
        answer(request)
    return refusal.value.errno


def ino_of(fs, *path):
    return fs.kernel.walk(T1, *path)


WRITES = ("mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "create", "write", "setxattr",
          "removexattr")  # fmt: skip


@pytest.mark.parametrize("operation", WRITES)
async def test_every_write_is_refused_by_fs_itself(fs, operation):
    parameters = len(inspect.signature(getattr(pyfuse3.Operations, operation)).parameters) - 1
    handler = getattr(fs.kernel.operations, operation)
    assert refused(handler(*[None] * parameters)) == errno.EROFS


def times_of(atime_ns: int, mtime_ns: int, **more: bool):
    attributes = pyfuse3.EntryAttributes()
    attributes.st_atime_ns, attributes.st_mtime_ns = atime_ns, mtime_ns
    fields = dict.fromkeys(("update_mode", "update_uid", "update_gid", "update_size"), False) | more
    return attributes, SimpleNamespace(**fields)


async def test_nothing_can_be_set_but_the_touch_passes_and_changes_nothing(fs):
    handler, ino = fs.kernel.operations.setattr, ino_of(fs, "secrets", "a")
    touch = (5 << 40, 7 << 40)
    assert refused(handler(ino, *times_of(0, 0), None, None)) == errno.EROFS, "an arena without one"
    fs.memory[TOUCH_OFFSET : TOUCH_OFFSET + 16] = struct.pack("<QQ", *touch)
    before = await fs.kernel.operations.getattr(ino, None)
    assert await handler(ino, *times_of(*touch), None, None) is before
    assert refused(handler(ino, *times_of(touch[0], touch[1] + 1), None, None)) == errno.EROFS
    assert refused(handler(ino, *times_of(*touch, update_size=True), None, None)) == errno.EROFS


def test_no_operation_of_pyfuse3_that_writes_is_left_out():
    reading = {"lookup", "forget", "getattr", "readlink", "open", "read", "flush", "release", "fsync", "opendir"}
    reading |= {"readdir", "releasedir", "fsyncdir", "statfs", "getxattr", "listxattr", "access", "poll"}
    reading |= {"init", "stacktrace"}
    ours = {name for name, _ in inspect.getmembers(pyfuse3.Operations, inspect.isfunction) if name[0] != "_"}
    assert ours - reading == {*WRITES, "setattr"}


@pytest.mark.parametrize("name", ["O_WRONLY", "O_RDWR", "O_TRUNC", "O_APPEND", "O_CREAT"])
async def test_opening_to_write_is_refused(fs, name):
    assert refused(fs.kernel.operations.open(ino_of(fs, "secrets", "a"), getattr(os, name), CALLER)) == errno.EROFS


@pytest.mark.parametrize(
    ("handler", "arguments"),
    [
        ("lookup", (NOWHERE, b"a", None)),
        ("getattr", (NOWHERE & ~1, None)),  # a directory that is gone
        ("open", (NOWHERE, os.O_RDONLY, CALLER)),
        ("opendir", (NOWHERE, None)),
        ("lookup", (pyfuse3.ROOT_INODE, b"nobody", None)),
    ],
)
async def test_what_is_not_there_is_enoent(fs, handler, arguments):
    assert refused(getattr(fs.kernel.operations, handler)(*arguments)) == errno.ENOENT


async def test_the_attributes_of_a_file_that_is_gone_are_refused_as_its_reads_are(fs):
    assert refused(fs.kernel.operations.getattr(NOWHERE | 1, None)) == errno.EACCES


async def test_a_file_has_no_children(fs):
    assert refused(fs.kernel.operations.lookup(ino_of(fs, "secrets", "a"), b"x", None)) == errno.ENOENT


async def test_a_missing_name_is_remembered_as_missing(fs):
    missing = answer(fs.kernel.operations.lookup(ino_of(fs, "secrets"), b"x" * 255, None))
    assert missing.st_ino == 0
    assert missing.entry_timeout > 86400 * 365


@pytest.mark.parametrize("length", [256, 1000])
async def test_a_name_that_is_too_long_is_said_to_be(fs, length):
    assert refused(fs.kernel.operations.lookup(ino_of(fs, "secrets"), b"x" * length, None)) == errno.ENAMETOOLONG


async def test_attributes_are_those_of_the_grant(fs):
    found = answer(fs.kernel.operations.getattr(ino_of(fs, "secrets", "a"), None))
    assert (found.st_uid, found.st_gid, found.st_mode, found.st_nlink) == (3, 0, 0o100440, 1)
    assert found.st_size == len(value_of(A1))
    assert found.st_blocks == -(-found.st_size // 512)


@pytest.mark.parametrize("path", [("secrets",), ("configs",), ("secrets", "d"), ()])
async def test_a_directory_can_be_passed_by_all_and_written_by_none(fs, path):
    found = answer(fs.kernel.operations.getattr(ino_of(fs, *path) if path else fs.kernel.walk(T1), None))
    assert (found.st_uid, found.st_gid, found.st_mode, found.st_nlink) == (0, 0, 0o040755, 2)


async def test_the_root_is_for_root_alone_and_lists_nothing(fs):
    root = answer(fs.kernel.operations.getattr(pyfuse3.ROOT_INODE, None))
    assert (root.st_uid, root.st_mode) == (0, 0o040700)
    assert entries(fs.kernel.operations, pyfuse3.ROOT_INODE) == []


async def test_inode_numbers_cannot_be_guessed(fs):
    numbers = sorted(fs.inodes.by_number)[1:]
    assert len(numbers) == 7
    assert all(1 < number < 2**63 for number in numbers)
    assert min(b - a for a, b in pairwise(numbers)) > 2**32


@pytest.mark.parametrize(("offset", "size"), [(0, 5), (3, 4), (0, 1 << 20), (10**9, 5), (31, 1)])
async def test_a_read_gives_the_bytes_asked_for(fs, offset, size):
    handle = fs.kernel.open(ino_of(fs, "secrets", "a"))
    assert bytes(answer(fs.kernel.operations.read(handle.number, offset, size))) == value_of(A1)[offset : offset + size]


async def test_a_read_makes_no_copy_of_the_value(fs):
    handle = fs.kernel.open(ino_of(fs, "secrets", "a"))
    assert isinstance(answer(fs.kernel.operations.read(handle.number, 0, 10)), memoryview)


async def test_an_open_is_direct_and_counted(fs):
    ino = ino_of(fs, "secrets", "a")
    slot = fs.manifest.slot_of(A1.object_id, 1)
    first = answer(fs.kernel.operations.open(ino, os.O_RDONLY, CALLER))
    assert (first.direct_io, first.keep_cache) == (True, False)
    assert fs.arena.open_count(slot) == 1
    answer(fs.kernel.operations.open(ino, os.O_RDONLY | os.O_CLOEXEC, CALLER))
    assert fs.arena.open_count(slot) == 2
    answer(fs.kernel.operations.release(first.fh))
    assert fs.arena.open_count(slot) == 1


async def test_a_handle_that_was_never_given_out_is_refused(fs):
    assert refused(fs.kernel.operations.read(12345, 0, 1)) == errno.EACCES
    answer(fs.kernel.operations.release(12345))


async def test_a_refused_handle_stays_refused_and_can_be_released(fs):
    handle = fs.kernel.open(ino_of(fs, "secrets", "a"))
    await fs.trees.drop(T1)
    assert refused(fs.kernel.operations.read(handle.number, 0, 1)) == errno.EACCES
    fs.kernel.close(handle)


async def test_a_release_of_an_old_version_is_not_taken_for_one_of_the_new(fs):
    handle = fs.kernel.open(ino_of(fs, "secrets", "d", "b"))
    await fs.put(T1, tree())
    await fs.put(T1, tree(entry("d/b", ref("z"))))
    slot = fs.manifest.slot_of(ref("z").object_id, 1)
    fs.kernel.open(ino_of(fs, "secrets", "d", "b"))
    fs.kernel.close(handle)
    assert fs.arena.open_count(slot) == 1


async def test_a_directory_that_changes_while_it_is_read_tells_none_twice_and_leaves_none_out(fs):
    names = [f"n{number}" for number in range(6)]
    await fs.put(T1, tree(*[entry(name, A1) for name in names]))
    directory = ino_of(fs, "secrets")
    first = entries(fs.kernel.operations, directory, room=3)
    stays = [name for name in names if name not in (first[0][0], "n5")]
    await fs.put(T1, tree(*[entry(name, A1) for name in stays], entry("new", B1)))
    second = entries(fs.kernel.operations, directory, start=first[-1][1])
    told = [name for name, _ in first + second]
    assert sorted(told) == sorted({*first[0][:1], *stays, "new"})


async def test_a_directory_that_went_is_read_as_empty(fs):
    handle = answer(fs.kernel.operations.opendir(ino_of(fs, "secrets", "d"), None))
    await fs.put(T1, tree())
    assert entries(fs.kernel.operations, handle) == []
    answer(fs.kernel.operations.releasedir(handle))


async def test_names_and_order_are_the_same_after_a_restart(fs):
    before = {path: entries(fs.kernel.operations, ino_of(fs, *path)) for path in [("secrets",), ("configs",)]}
    await fs.restart()
    assert {path: entries(fs.kernel.operations, ino_of(fs, *path)) for path in before} == before


async def test_a_forget_of_what_nobody_knows_is_no_error(fs):
    with pytest.raises(StopIteration):
        fs.kernel.operations.forget([(NOWHERE, 3)]).send(None)


async def test_there_is_no_space(fs):
    found = answer(fs.kernel.operations.statfs(None))
    assert (found.f_blocks, found.f_bfree, found.f_bavail, found.f_namemax) == (0, 0, 0, 255)


@pytest.mark.parametrize(
    ("handler", "arguments"),
    [
        ("lookup", (1, b"a", None)),
        ("getattr", (1, None)),
        ("open", (1, 0, CALLER)),
        ("read", (1, 0, 1)),
        ("release", (1,)),
        ("opendir", (1, None)),
        ("readdir", (1, 0, None)),
        ("statfs", (None,)),
    ],
)
def test_a_bug_in_a_handler_is_eio_and_one_line_in_the_log(handler, arguments, capfd):
    class Broken:
        """Whatever is asked of it is a bug."""

        def __getattr__(self, name):
            return self

        def get(self, *_):
            raise ZeroDivisionError("a value must not be told: s3cret")

    operations = Operations()
    operations.serve(Broken(), Broken(), Broken(), Broken(), takes=lambda *_: None, released=Broken())
    del operations._statvfs
    assert refused(getattr(operations, handler)(*arguments)) == errno.EIO
    line = json.loads(capfd.readouterr().err)
    assert (line["event"], line["operation"]) == ("handler failed", handler)
    assert "s3cret" not in json.dumps(line)


async def test_a_handler_that_finds_no_memory_ends_fs_and_answers_nobody(fs, monkeypatch):
    """The kernel asks the next one."""
    monkeypatch.setattr(operations_module.os, "_exit", sys.exit)

    def scarce(*_):
        raise MemoryError

    fs.kernel.operations._record = scarce
    with pytest.raises(SystemExit) as end:
        await fs.kernel.operations.open(ino_of(fs, "secrets", "a"), 0, CALLER)
    assert end.value.code == operations_module.EXIT_NO_MEMORY
