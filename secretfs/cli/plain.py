"""Command lines of ``secretfs run`` that are read without argparse. Rule: what is plain is read as argparse would read
it; of everything else nothing is read here.

Argparse, with the regular expressions and enumerations that it brings, takes longer than all else that happens before
the program starts. Plain is: known flags in full, each with its value, then ``--`` and the program.
"""

_VALUES = {"--service": "service", "--target-dir": "target_dir", "--user": "user"}
_LISTS = {"--secret": "secret", "--config": "config"}
_SWITCHES = {"--file-vars": "file_vars", "--allow-new-privileges": "allow_new_privileges"}
_HOSTS = ("-H", "--host")


class Arguments:
    """What argparse.Namespace would have."""

    def __init__(self) -> None:
        self.secret: list[str] = []
        self.config: list[str] = []
        self.command: list[str] = []
        self.service: str | None = None
        self.user: str | None = None
        self.until: str | None = None
        self.target_dir = "/run/secrets"
        self.file_vars = False
        self.allow_new_privileges = False
        self.prog = "secretfs run"


def run_arguments(words: list[str]) -> Arguments | None:
    """What the command line says, if it is a plain one of ``run``."""
    found = Arguments()
    at = 0
    if words[:1] and words[0] in _HOSTS and len(words) > 1:
        setattr(found, "host", words[1])  # noqa: B010 - absent when nobody says it, as argparse has it
        at = 2
    if words[at : at + 1] != ["run"] or "--" not in words:
        return None
    end = words.index("--")
    at += 1
    while at < end:
        at = _taken(found, words, at, end)
    found.command = words[end:]
    return found if at == end and len(words) > end + 1 else None


def _taken(found: Arguments, words: list[str], at: int, end: int) -> int:
    """Where the next flag is; behind the end when this is none that is known."""
    word = words[at]
    if word in _SWITCHES:
        setattr(found, _SWITCHES[word], True)
        return at + 1
    value = words[at + 1] if at + 1 < end else "-"
    if value.startswith("-"):
        return end + 1
    if word in _VALUES:
        setattr(found, _VALUES[word], value)
    elif word in _LISTS:
        getattr(found, _LISTS[word]).append(value)
    elif word in _HOSTS:
        setattr(found, "host", value)  # noqa: B010 - as above
    else:
        return end + 1
    return at + 2
