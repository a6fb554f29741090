import os

import pytest

from secretfs.errors import AttachError
from secretfs.linux import process
from secretfs.runtimes import identity, run, tree


@pytest.mark.parametrize(
    ("target_dir", "configs"), [("/run/secrets", "/run/configs"), ("/s", "/configs"), ("/a/b/c", "/a/b/configs")]
)
def test_configs_go_beside_the_secrets(target_dir, configs):
    assert tree.configs_dir(target_dir) == configs


def refusal(act, *, root: str | None = None, uid: int = 4321) -> list[str]:
    """What another user is told, maybe in a chroot, where nobody can make a user namespace."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        if root:
            os.chroot(root)
            os.chdir("/")
        process.drop_to(uid, uid)
        try:
            act()
        except AttachError as refused:
            os.write(writer, "\n".join([str(refused), *refused.__notes__]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as said:
        return said.read().splitlines()


def test_who_can_have_no_user_namespace_is_told_what_forbids_it(tmp_path):
    assert refusal(lambda: tree.put_in_place([], "/run/secrets", configs=False), root=str(tmp_path)) == [
        "cannot make a user namespace: Operation not permitted",
        (
            "this host must let users have user namespaces: see sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
        ),
        "or run it as root; in a container, with the capability SYS_ADMIN",
    ]


@pytest.mark.parametrize("place", ["/run/no/secrets", "/run/no"])
def test_who_cannot_make_the_directory_is_told_how_root_makes_it(place):
    assert refusal(lambda: tree.check_place(place)) == [
        f"cannot make the target directory {place}: Permission denied",
        f"let root make it once: echo 'd {place} 0755' >/etc/tmpfiles.d/secretfs.conf && systemd-tmpfiles --create",
        "choose another directory with --target-dir",
    ]


def test_a_directory_that_is_there_or_can_be_made_is_fine(tmp_path):
    for place in (tmp_path, tmp_path / "a", tmp_path / "a/b/c"):
        tree.check_place(str(place))
    assert refusal(lambda: tree.check_place("/tmp/not/there/yet")) == []
    assert refusal(lambda: tree.check_place("/etc/passwd/below")) == [], "what is in the way is found when it is made"


def test_a_program_runs_as_nobody_else_for_who_is_not_root():
    who = identity.Identity(0, 0, [0])
    assert refusal(lambda: run._allowed(who)) == [
        "uid 4321 cannot become uid 0, gid 0: only root may",
        "leave out --user, or run it as root",
    ]
    assert refusal(lambda: run._allowed(identity.Identity(4321, 4321, []))) == []


def test_paths_are_in_the_order_of_the_files():
    files = [{"Kind": "config", "Target": "c"}, {"Kind": "secret", "Target": "a/s"}]
    assert tree.paths(files, "/run/secrets") == ["/run/configs/c", "/run/secrets/a/s"]
