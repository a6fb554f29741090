import os

import pytest

from secretfs.errors import AttachError
from secretfs.linux import process
from secretfs.runtimes import tree


@pytest.mark.parametrize(
    ("target_dir", "configs"), [("/run/secrets", "/run/configs"), ("/s", "/configs"), ("/a/b/c", "/a/b/configs")]
)
def test_configs_go_beside_the_secrets(target_dir, configs):
    assert tree.configs_dir(target_dir) == configs


def test_who_is_not_root_is_told_so():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        process.drop_to(4321, 4321)
        try:
            tree.put_in_place([], "/run/secrets")
        except AttachError as refusal:
            os.write(writer, "\n".join([str(refusal), *refusal.__notes__]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as said:
        assert said.read().splitlines() == [
            "cannot make a mount namespace: Operation not permitted",
            "run it as root; in a container, with the capability SYS_ADMIN",
        ]
