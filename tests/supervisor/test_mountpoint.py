"""Where the file system is mounted: what is found there, what is made of it, and what is left."""

import ast
import stat
import subprocess
import sys

import pytest

from secretfs.errors import SetupError
from secretfs.linux.mountinfo import Mount
from secretfs.supervisor import mountpoint


def refusal(act, *arguments) -> str:
    with pytest.raises(SetupError) as caught:
        act(*arguments)
    return str(caught.value)


def test_a_mountpoint_is_made_for_root_alone(tmp_path):
    mountpoint.clear(str(tmp_path / "a" / "mnt"))
    assert stat.S_IMODE((tmp_path / "a" / "mnt").stat().st_mode) == 0o700


def test_a_mountpoint_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert refusal(mountpoint.clear, str(tmp_path)) == (
        f"mountpoint {str(tmp_path)!r} is not empty: choose another with --mountpoint"
    )
    assert (tmp_path / "file").exists()


def test_a_mountpoint_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert refusal(mountpoint.clear, str(tmp_path / "file")) == (
        f"mountpoint {str(tmp_path / 'file')!r} is not a directory: choose another with --mountpoint"
    )


def test_a_mountpoint_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert refusal(mountpoint.clear, str(tmp_path / "file" / "mnt")).endswith("cannot be used: Not a directory")


MOUNTS = [("fuse.secretfs", "secretfs", True), ("fuse", "secretfs", True), ("fuse.sshfs", "secretfs", False),
          ("fuse.secretfs", "other", False), ("tmpfs", "secretfs", False)]  # fmt: skip


@pytest.mark.parametrize(("fstype", "source", "ours"), MOUNTS)
def test_mounts_of_secretfs_are_told_from_others(fstype, source, ours):
    assert mountpoint.secretfs_mount(Mount(30, 1, "0:9", "/", "/mnt", fstype, source)) is ours


# -- shelter ---------------------------------------------------------------------------------------------------------

SHELTERED = """
import os, sys
from secretfs.linux import mount, mountinfo
from secretfs.supervisor import mountpoint
place = sys.argv[1]

def here(at=place):
    return [m.shared for m in mountinfo.mounts() if m.path == at]

"""


@pytest.fixture
def told(tmp_path):
    """What a script about ``place`` prints, in a mount namespace whose ``/`` is shared, or not."""

    def tell(script: str, propagation: str = "shared") -> object:
        (tmp_path / "mnt").mkdir(exist_ok=True)
        command = ["unshare", "-m", "--propagation", propagation, sys.executable, "-c", SHELTERED + script]
        done = subprocess.run([*command, str(tmp_path / "mnt")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return ast.literal_eval(done.stdout)

    return tell


def test_a_mount_that_nobody_else_sees_needs_no_shelter(told):
    assert told("mountpoint.shelter(place); print(here())", "private") == []


def test_below_a_shared_mount_the_mountpoint_becomes_private_once(told):
    assert told("mountpoint.shelter(place); mountpoint.shelter(place); print(here())") == [False]


def test_a_shelter_that_somebody_has_shared_is_made_private_again(told):
    shared = "mount.mount(None, place, flags=mount.MS_SHARED)"
    assert told(f"mountpoint.shelter(place); {shared}; mountpoint.shelter(place); print(here())") == [False]


def test_the_shelter_is_taken_away_again(told):
    assert told("mountpoint.shelter(place); mountpoint.take_away(place); print(here())") == []


def test_a_link_to_the_mountpoint_leads_to_the_same_shelter(told):
    script = "os.symlink(place, place + '2'); mountpoint.shelter(place + '2'); mountpoint.take_away(place + '2')"
    assert told(f"{script}; print(here())") == []


def test_a_shelter_in_a_chroot_is_private_and_is_taken_away(told):
    script = """
jail, inside = os.path.dirname(place), "/" + os.path.basename(place)
proc = os.open("/proc", os.O_PATH)
os.mkdir(jail + "/proc")
mount.mount("/proc", jail + "/proc", flags=mount.MS_BIND)
os.chroot(jail)
mountpoint.shelter(inside)
before = here(inside)
mountpoint.take_away(inside)
print([before, here(inside)])
"""
    assert told(script) == [[False], []]


OTHERS = {
    "another file system": 'mount.mount("theirs", place, "tmpfs")',
    "another directory": 'os.mkdir(place + "2"); mount.mount(place + "2", place, flags=mount.MS_BIND)',
}


@pytest.mark.parametrize("theirs", OTHERS.values(), ids=OTHERS)
def test_what_others_have_mounted_there_stays_as_it_is(told, theirs):
    assert told(f"{theirs}; mountpoint.shelter(place); mountpoint.take_away(place); print(here())") == [True]
