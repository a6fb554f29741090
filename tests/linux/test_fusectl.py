"""Whose a FUSE mount is, by the kernel's word."""

import os

import pytest

from secretfs.linux import fusectl
from secretfs.linux.mount import MNT_DETACH, mount, umount2

pytestmark = pytest.mark.kernel


@pytest.fixture
def connections():
    fd = fusectl.opened()
    assert fd is not None
    yield fd
    os.close(fd)


@pytest.mark.parametrize("uid", [0, 4242])
def test_a_mount_is_of_the_user_that_it_is_for_to_the_end_of_its_last_mount(connections, tmp_path, uid):
    device = os.open("/dev/fuse", os.O_RDWR)
    mount("any", str(tmp_path), "fuse", data=f"fd={device},rootmode=40000,user_id={uid},group_id=0")
    with open("/proc/self/mountinfo") as table:
        number = next(line.split()[2] for line in table if line.split()[4] == str(tmp_path))
    assert fusectl.owner(connections, number) == uid
    os.close(device)
    assert fusectl.owner(connections, number) == uid, "dead, and mounted"
    umount2(str(tmp_path), MNT_DETACH)
    assert fusectl.owner(connections, number) is None


@pytest.mark.parametrize("device", ["8:1", "0:", "0:..", "0", "", "0:4294967295"])
def test_what_is_no_fuse_mount_is_nobodys(connections, device):
    assert fusectl.owner(connections, device) is None
