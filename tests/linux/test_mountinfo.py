"""Mount tables: what the kernel escapes, what it leaves out, and what a path leads to."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.linux import mount, mountinfo, namespaces
from secretfs.linux.mountinfo import Mount, mount_at, mount_of, mounts, parsed

LINES = [
    (
        rb"30 1 0:9 / /run/secretfs/mnt ro,nosuid - fuse.secretfs secretfs ro,user_id=0",
        Mount(30, 1, "0:9", "/", "/run/secretfs/mnt", "fuse.secretfs", "secretfs"),
    ),
    (
        rb"31 1 0:9 /id/secrets//deleted /a\040b\011c\134d ro shared:2 master:1 - fuse.secretfs a\040- ro",
        Mount(31, 1, "0:9", "/id/secrets//deleted", "/a b\tc\\d", "fuse.secretfs", "a -", shared=True),
    ),
    (b"32 1 8:1 / /shared:1 rw master:1 - ext4 shared:2 rw", Mount(32, 1, "8:1", "/", "/shared:1", "ext4", "shared:2")),
    (b"32 1 8:1 / /\xc3\xbc rw - ext4 /dev/sda1 rw", Mount(32, 1, "8:1", "/", "/ü", "ext4", "/dev/sda1")),
    (b"33 1 8:1 / /\xff - - x y rw", Mount(33, 1, "8:1", "/", "/\udcff", "x", "y")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_a_line_is_a_mount(line, expected):
    assert parsed(line + b"\n") == [expected]


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
def test_any_path_survives_the_escapes(name):
    escaped = b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte]) for byte in name)
    (found,) = parsed(b"30 1 0:9 / /" + escaped + b" rw - tmpfs none rw\n")
    assert os.fsencode(found.path) == b"/" + name


def test_our_own_table_is_read():
    assert any(found.path == "/" for found in mounts())
    assert mounts(os.getpid()) == mounts()
    proc = os.open("/proc", os.O_PATH)
    assert mounts(proc=proc) == mounts()
    os.close(proc)


def test_a_process_that_is_gone_is_an_error():
    with pytest.raises(OSError, match="No such file"):
        mounts(2**22)


def test_the_topmost_mount_of_a_path_is_found_by_whatever_name(child, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    (tmp_path / "a b").mkdir()

    def act():
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount.mount(None, "/", flags=mount.MS_REC | mount.MS_PRIVATE)
        place = str(tmp_path / "a b")
        before = mount_at(place)
        seen = []
        for source in ("first", "second"):
            mount.mount(source, place, "tmpfs")
            seen.append([mount_at(str(tmp_path / name)).source for name in ("a b", "link", "a b/.", "link/../a b")])
        fd = os.open(place, os.O_PATH)
        same = mount_of(fd) == mount_at(place).id
        return [before is None, *seen, same, mount_at(str(tmp_path)) is None]

    assert child(act) == [True, ["first"] * 4, ["second"] * 4, True, True]


def test_a_path_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        mount_at(str(tmp_path / "missing"))


def test_a_descriptor_that_is_none_is_an_error():
    with pytest.raises(FileNotFoundError):
        mountinfo.mount_of(10**6)
