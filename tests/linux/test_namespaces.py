import os
import signal

import pytest

from secretfs.linux import namespaces


def test_a_child_shares_the_namespaces_until_it_leaves_one(child):
    ours = namespaces.ns_inode("self", "mnt")

    def act():
        before = namespaces.ns_inode(os.getpid(), "mnt")
        namespaces.unshare(namespaces.CLONE_NEWNS)
        return [before == ours, namespaces.ns_inode("self", "mnt") == ours]

    assert child(act) == [True, False]


def test_a_namespace_is_entered_again(child):
    ours = namespaces.ns_inode("self", "mnt")

    def act():
        back = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        namespaces.setns(back)
        return namespaces.ns_inode("self", "mnt") == ours

    assert child(act) is True


def test_the_namespaces_of_a_process_are_entered_by_its_pidfd(child):
    ours = namespaces.ns_inode("self", "mnt")
    parent = os.pidfd_open(os.getpid())

    def act():
        namespaces.unshare(namespaces.CLONE_NEWNS)
        namespaces.setns(parent, namespaces.CLONE_NEWNS)
        return namespaces.ns_inode("self", "mnt") == ours

    try:
        assert child(act) is True
    finally:
        os.close(parent)


def test_entering_what_is_no_namespace_names_the_descriptor(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=f"'fd {fd}'"):
            namespaces.setns(fd)
    finally:
        os.close(fd)


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(OSError, match="Invalid argument"):
        namespaces.unshare(1)


def test_a_process_that_is_gone_has_no_namespaces():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(FileNotFoundError):
        namespaces.ns_inode(pid, "mnt")


def test_a_user_namespace_of_our_own_knows_us_alone_by_the_number_that_we_choose(child):
    def act():
        before = namespaces.one_id_only()
        namespaces.own_user_namespace(4242, 4243)
        return [before, namespaces.one_id_only(), os.getuid(), os.getgid()]

    assert child(act) == [False, True, 4242, 4243]


def test_the_parent_of_a_user_namespace_is_told_to_who_is_above(child):
    def act():
        namespaces.own_user_namespace(0, 0)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            namespaces.own_user_namespace(7, 7)
            os.write(writing, b"!")
            signal.pause()
        os.read(reading, 1)
        below = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        os.kill(pid, signal.SIGKILL)
        return os.fstat(namespaces.parent_of(below)).st_ino == namespaces.ns_inode("self", "user")

    assert child(act) is True
    own = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with pytest.raises(PermissionError):  # what is above us is not ours to see
            namespaces.parent_of(own)
    finally:
        os.close(own)
