"""A copy of secretfs with an interpreter of its own: what is installed can be changed while a daemon of it runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import secretfs

TODAY = Path(secretfs.__file__).parent
FIRST_WITH_HANDOVER = "115133f8546b5e8aa8e2ba5352f042729523d5f7"
_PROGRAM = "import sys; from secretfs.cli.main import main; sys.exit(main())"


class Installation:
    """A virtual environment that shares every dependency with the tests, but has its own secretfs: today's."""

    def __init__(self, root: Path) -> None:
        self._source = root / "source"
        self._package = self._source / "secretfs"
        self._source.mkdir(parents=True)
        self.becomes_todays()
        ours = Path(sys.prefix)
        packages = next(ours.glob("lib/python*/site-packages"))
        theirs = root / packages.relative_to(ours)
        theirs.mkdir(parents=True)
        for entry in packages.iterdir():
            if "secretfs" not in entry.name:
                (theirs / entry.name).symlink_to(entry)
        (theirs / "secretfs.pth").write_text(f"{self._source}\n")
        shutil.copy(ours / "pyvenv.cfg", root)
        (root / "bin").mkdir()
        (root / "bin" / "python").symlink_to(Path(sys.executable).resolve())
        self.program = (str(root / "bin" / "python"), "-P", "-c", _PROGRAM)  # -P: not what lies where the tests run

    def change(self, module: str, old: str, new: str) -> None:
        """As an upgrade would."""
        path = self._package / module
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def becomes_todays(self) -> None:
        """Replaced, as pip does it."""
        shutil.rmtree(self._package, ignore_errors=True)
        shutil.copytree(TODAY, self._package, ignore=shutil.ignore_patterns("__pycache__"))

    def becomes(self, commit: str) -> bool:
        """Whether the repository has that commit, and this is it now. A shallow clone has not."""
        archive = subprocess.run(["git", "-C", TODAY.parent, "archive", commit, "secretfs"], capture_output=True)
        if archive.returncode:
            return False
        shutil.rmtree(self._package)
        subprocess.run(["tar", "-x", "-C", self._source], input=archive.stdout, check=True)
        return True
