import errno
import os

import pytest

from secretfs.linux import mount, namespaces

NO_FLAGS = 0


def own_namespace() -> None:
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mount.mount(None, "/", flags=mount.MS_REC | mount.MS_PRIVATE)


def flags_of(path: str) -> int:
    return os.statvfs(path).f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)


def test_a_file_system_is_mounted_with_its_flags_and_taken_away(child, tmp_path):
    def act():
        own_namespace()
        before = os.stat(tmp_path).st_dev
        mount.mount("secrets", str(tmp_path), "tmpfs", mount.MS_NOSUID | mount.MS_NOEXEC, "size=64k,mode=700")
        seen = os.stat(tmp_path).st_dev != before, oct(os.stat(tmp_path).st_mode), flags_of(tmp_path)
        mount.umount2(str(tmp_path), mount.MNT_DETACH)
        return [*seen, os.stat(tmp_path).st_dev == before]

    assert child(act) == [True, "0o40700", os.ST_NOSUID | os.ST_NOEXEC, True]


def test_a_refused_mount_names_its_target(child):
    def act():
        own_namespace()
        try:
            mount.mount("x", "/no/such/place", "tmpfs")
        except OSError as exc:
            return [exc.errno, exc.filename]

    assert child(act) == [errno.ENOENT, "/no/such/place"]


def test_taking_away_what_is_not_mounted_names_it(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        mount.umount2(str(tmp_path), mount.UMOUNT_NOFOLLOW)
    assert caught.value.errno in (errno.EINVAL, errno.EPERM)


def test_a_detached_tree_is_made_read_only_and_moved(child, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("here")

    def act():
        own_namespace()
        tree = mount.open_tree(str(source))
        closes = not os.get_inheritable(tree)
        mount.mount_setattr(tree, set_attributes=mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NODEV)
        mount.move_mount(tree, "", mount.AT_FDCWD, str(target))
        return [closes, (target / "file").read_text(), flags_of(target), flags_of(source) & os.ST_RDONLY]

    assert child(act) == [True, "here", os.ST_RDONLY | os.ST_NODEV, 0]


def test_attributes_are_cleared_again(child, tmp_path):
    def act():
        own_namespace()
        mount.mount("x", str(tmp_path), "tmpfs", mount.MS_RDONLY)
        fd = os.open(tmp_path, os.O_PATH)
        mount.mount_setattr(fd, clear_attributes=mount.MOUNT_ATTR_RDONLY, set_attributes=mount.MOUNT_ATTR_NOEXEC)
        return flags_of(tmp_path)

    # the superblock stays read-only, the mount is not: see mount_setattr(2)
    assert child(act) == os.ST_RDONLY | os.ST_NOEXEC


def test_a_mount_goes_beneath_another_and_shows_when_that_is_gone(child, tmp_path):
    old, new, place = (tmp_path / name for name in ("old", "new", "place"))
    for directory in (old, new, place):
        directory.mkdir()
        (directory / "name").write_text(directory.name)

    def act():
        own_namespace()
        mount.mount(str(old), str(place), flags=mount.MS_BIND)
        seen = [(place / "name").read_text()]
        mount.move_mount(
            mount.open_tree(str(new)),
            "",
            mount.AT_FDCWD,
            str(place),
            mount.MOVE_MOUNT_F_EMPTY_PATH | mount.MOVE_MOUNT_BENEATH,
        )
        seen.append((place / "name").read_text())
        mount.umount2(str(place), mount.MNT_DETACH)
        return [*seen, (place / "name").read_text()]

    assert child(act) == ["old", "old", "new"]


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda: mount.open_tree("/no/such/tree"), "/no/such/tree"),
        (lambda: mount.open_tree("", dir_fd=9999, flags=mount.AT_EMPTY_PATH), "fd 9999"),
        (lambda: mount.move_mount(9999, "", mount.AT_FDCWD, "/"), "/"),
        (lambda: mount.move_mount(9999, "", 9998, "", NO_FLAGS), "fd 9998"),
        (lambda: mount.mount_setattr(9999, set_attributes=1), "fd 9999"),
    ],
)
def test_a_refusal_names_its_object(act, name):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which errno depends on who asks
        act()
    assert caught.value.filename == name
    assert caught.value.errno in (errno.EBADF, errno.ENOENT, errno.EPERM)
