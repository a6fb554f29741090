"""``--file-vars``: for each file a variable that says where it is. The rule: one name, one file; two are
refused.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from secretfs.errors import AttachError
from secretfs.runtimes.tree import paths


def file_variables(files: Sequence[Mapping[str, str]], target_dir: str) -> dict[bytes, bytes]:
    """``MY_SECRET_FILE=/run/secrets/target`` for the secret ``my.secret``. Where one name would stand for
    several files (a secret that is granted twice) each is called by its target instead.

    Raises: AttachError when two files still share a name.
    """
    by_name = Counter(variable_name(file["Name"]) for file in files)
    found: dict[str, str] = {}
    for file, path in zip(files, paths(files, target_dir), strict=True):
        name = variable_name(file["Name"])
        if by_name[name] > 1:
            name = variable_name(file["Target"])
        if found.setdefault(name, path) != path:
            raise _ambiguous(name, found[name], path)
    return {name.encode(): path.encode() for name, path in found.items()}


def variable_name(text: str) -> str:
    """Upper case, ``_`` for every character that is neither an ASCII letter nor a digit, and ``_FILE``."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in text).upper() + "_FILE"


def _ambiguous(name: str, first: str, second: str) -> AttachError:
    failure = AttachError(f"the variable {name} would stand for both {first} and {second}")
    failure.add_note("give one of them another target, or leave out --file-vars")
    return failure
