"""Where things lie in the arena and in the mailbox: what supervisor, fs and control must agree on. Pure.

::

    arena    header (1 page) | open counts (4 bytes per page of data) | journal half A | journal half B | data
    mailbox  data key (32 bytes) | associated data | sealed value

The header has what fs has in hand (link/hand.py), and ends with the touch: a pair of times that nobody else knows.
Setting exactly these on a file or directory is how the supervisor makes the kernel tell who watches it; fs lets it
pass, changes nothing, and refuses all else.

Only ``data`` holds plaintext: it is what supervisor and fs lock, from its start, as far as fs has asked for. The
rest is sparse: a page that was never written takes no memory.
"""

from dataclasses import dataclass
from typing import Final

PAGE: Final = 4096  # bytes
JOURNAL_HALF_BYTES: Final = 16 << 20  # the manifest of about 100,000 files
DATA_KEY_BYTES: Final = 32
MAILBOX_BYTES: Final = 1 << 20  # a config of 1,023,999 bytes, its key, associated data and tag
TOUCH_OFFSET: Final = 2048  # in the arena's header: two numbers of 8 bytes, little endian, 0 where there are none
TOUCH_BITS: Final = 60  # of each: nanoseconds that a utimensat(2) can carry
GROW_BYTES: Final = 1 << 20  # the arena is locked in steps of this
MIN_ARENA_BYTES: Final = 1 << 20
MAX_ARENA_BYTES: Final = 64 << 30


def pages(size: int) -> int:
    """How many pages ``size`` bytes take."""
    return -(-size // PAGE)


@dataclass(frozen=True, slots=True)
class ArenaLayout:
    """Offsets in the arena's memfd for ``data_bytes`` of plaintext at most (whole pages)."""

    data_bytes: int

    @property
    def counts(self) -> int:
        """Offset of the open counts: an unsigned 32-bit number for each page of data."""
        return PAGE

    @property
    def journals(self) -> tuple[int, int]:
        """Offsets of the two halves of the journal, JOURNAL_HALF_BYTES each."""
        first = self.counts + pages(4 * (self.data_bytes // PAGE)) * PAGE
        return first, first + JOURNAL_HALF_BYTES

    @property
    def data(self) -> int:
        """Offset of the plaintext."""
        return self.journals[1] + JOURNAL_HALF_BYTES

    @property
    def total(self) -> int:
        """Size of the memfd in bytes."""
        return self.data + self.data_bytes
