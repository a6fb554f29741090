"""A copy of secretfs with an interpreter of its own: what is installed can be changed while a daemon of it runs."""

import shutil
import sys
from pathlib import Path

import secretfs

_PROGRAM = "import sys; from secretfs.cli.main import main; sys.exit(main())"


class Installation:
    """A virtual environment that shares every dependency with the tests, but has its own secretfs."""

    def __init__(self, root: Path) -> None:
        self._package = root / "source" / "secretfs"
        shutil.copytree(Path(secretfs.__file__).parent, self._package, ignore=shutil.ignore_patterns("__pycache__"))
        ours = Path(sys.prefix)
        packages = next(ours.glob("lib/python*/site-packages"))
        theirs = root / packages.relative_to(ours)
        theirs.mkdir(parents=True)
        for entry in packages.iterdir():
            if "secretfs" not in entry.name:
                (theirs / entry.name).symlink_to(entry)
        (theirs / "secretfs.pth").write_text(f"{self._package.parent}\n")
        shutil.copy(ours / "pyvenv.cfg", root)
        (root / "bin").mkdir()
        (root / "bin" / "python").symlink_to(Path(sys.executable).resolve())
        self.command = (str(root / "bin" / "python"), "-c", _PROGRAM, "daemon")

    def change(self, module: str, old: str, new: str) -> None:
        """As an upgrade would."""
        path = self._package / module
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
