"""Root takes mounts away in namespaces whose user moves directories meanwhile: only what was checked is taken away."""

import subprocess
import sys
from pathlib import Path

import pytest

from secretfs.control.repairs import ATTEMPTS

pytestmark = pytest.mark.kernel

SWAPPING = str(Path(__file__).with_name("swapping.py"))
VALUE = b"This is a secret"


@pytest.fixture(params=["secrets", "secrets/db"], ids=["tree", "single file"])
def crafty(request, daemon, tmp_path):
    """A task with its tree, or a file of it, in one directory, and something else at the same place in another."""
    daemon.secret("db", VALUE)
    daemon.cli("service", "create", "--secret", "db", "web")
    for name in ("place/secrets", "other/secrets"):
        (tmp_path / name).mkdir(parents=True)
    return Crafty(daemon, tmp_path, request.param)


class Crafty:
    """``path`` is where the tree, or its file, is mounted."""

    def __init__(self, daemon, root: Path, mounted: str) -> None:
        self._root = root
        self.path, other = root / "place" / mounted, root / "other" / mounted
        if mounted == "secrets":
            script, options = f"mount -t tmpfs mine {other}", ["--target-dir", str(self.path)]
        else:
            script = f"touch {self.path} {other} && mount --bind /etc/hostname {other} && mount --bind /run/secrets/db "
            script, options = f"{script} {self.path} && umount /run/secrets", []
        script += ' && shift && exec "$@"'
        self.task = daemon.task("--service", "web", *options, "--", "sh", "-c", script, "sh")
        self.file = str(self.path / "db" if mounted == "secrets" else self.path)
        self.others = [line for line in self.table() if f" {other} " in line]
        assert self.others

    def table(self) -> list[str]:
        return Path(f"/proc/{self.task.pid}/mountinfo").read_text().splitlines()

    def mounts(self) -> list[str]:
        """Ids of what is mounted at the path."""
        return [line.split()[0] for line in self.table() if f" {self.path} " in line]

    def device(self) -> str:
        """Of what is mounted at the path."""
        return next(line.split()[2] for line in self.table() if f" {self.path} " in line)

    def inside(self, *command: str) -> None:
        subprocess.run(["nsenter", f"--mount=/proc/{self.task.pid}/ns/mnt", *command], check=True)

    def helped(self, name: str, *words: object) -> str:
        places = [str(self._root / "place"), str(self._root / "other")]
        command = [sys.executable, SWAPPING, name, *places, *map(str, words)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_only_what_was_checked_is_taken_away(crafty, daemon):
    """By a repair, of a mount that another has covered when the daemon repaired; and by a drop."""
    [dead], device = crafty.mounts(), crafty.device()
    cover = ["-t", "tmpfs", "cover"] if crafty.path.is_dir() else ["--bind", "/etc/hostname"]
    crafty.inside("mount", *cover, str(crafty.path))
    daemon.kill()
    daemon.start()
    for _ in range(ATTEMPTS):
        daemon.wait_for("repaired", failed=1)
    crafty.inside("umount", str(crafty.path))
    assert crafty.helped("repair", daemon.mountpoint, device) == "1 0\n"
    [living] = crafty.mounts()
    assert living != dead
    assert crafty.task.do("cat", crafty.file) == VALUE.hex()
    assert set(crafty.others) <= set(crafty.table())
    [known] = daemon.api("GET", "/secretfs/v1/tasks")
    assert crafty.helped("drop", daemon.mountpoint, known["ID"]) == "2 0\n", "secrets and configs"
    assert crafty.mounts() == []
    assert set(crafty.others) <= set(crafty.table())
