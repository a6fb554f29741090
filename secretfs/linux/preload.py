"""What Python imports only when it is first used, imported now: before a process gives up its right to open files."""

import codecs
from typing import Final

_CODECS: Final = ("ascii", "latin-1", "utf-8", "utf-8-sig", "idna", "punycode", "unicode_escape", "raw_unicode_escape")


def preload() -> None:
    """Look up every codec that the standard library asks for by name."""
    for name in _CODECS:
        codecs.lookup(name)
