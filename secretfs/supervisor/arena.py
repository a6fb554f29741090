"""The arena's memfd: made or adopted here, locked here (and by fs, as far as it may), wiped here when nobody serves any
more.
"""

import os
import secrets
import struct
from typing import Final, Self

from secretfs.errors import SetupError
from secretfs.link.hand import Hand, hand_in
from secretfs.link.layout import GROW_BYTES, MAILBOX_BYTES, PAGE, TOUCH_BITS, TOUCH_OFFSET, ArenaLayout
from secretfs.linux import memory

_TOUCH: Final = struct.Struct("<QQ")
_ZEROS: Final = bytes(1 << 20)


class ArenaMemory:
    """The memfd and the lock on its data. ``usable`` bytes of data are in memory for good."""

    def __init__(self, fd: int, data_bytes: int, usable: int) -> None:
        """Lock again what another supervisor had locked: its lock ended with it. Raises SetupError."""
        self.layout = ArenaLayout(data_bytes)
        self.fd = fd
        self._memory = memory.mapped(fd, self.layout.total)
        memory.keep_out_of_dumps(self._memory)
        memory.keep_out_of_forks(self._memory)
        self.touch = self._touch()
        self.usable = 0
        error = self.grow(usable)
        if error:
            raise SetupError(
                f"the arena cannot be locked in memory: {os.strerror(error)}: "
                "CAP_IPC_LOCK or a higher ulimit -l is needed"
            )

    @classmethod
    def made(cls, data_bytes: int) -> Self:
        """A new one. Raises SetupError if not even the first step can be locked."""
        fd = memory.memfd("secretfs-arena", ArenaLayout(data_bytes).total)
        return cls(fd, data_bytes, min(GROW_BYTES, data_bytes))

    def _touch(self) -> tuple[int, int]:
        """The pair of times of link/layout.py, made with the arena; one of an older secretfs gets it here."""
        found = _TOUCH.unpack_from(self._memory, TOUCH_OFFSET)
        if not all(found):
            found = (1 + secrets.randbits(TOUCH_BITS), 1 + secrets.randbits(TOUCH_BITS))
            _TOUCH.pack_into(self._memory, TOUCH_OFFSET, *found)
        return found

    def hand(self) -> Hand:
        """The request that fs has taken last."""
        return hand_in(self._memory)

    def empty(self) -> None:
        """As new, for an fs that can make nothing of what is in it: control tells it everything again."""
        self.wipe()
        _TOUCH.pack_into(self._memory, TOUCH_OFFSET, *self.touch)

    def grow(self, wanted: int) -> int:
        """Lock as far as ``wanted`` bytes of data; 0, or the errno of a refusal, with what was usable still usable."""
        wanted = min(-(-wanted // PAGE) * PAGE, self.layout.data_bytes)
        if wanted <= self.usable:
            return 0
        try:
            memory.mlock(self._memory, self.layout.data + self.usable, wanted - self.usable)
        except OSError as exc:
            return exc.errno or 1
        self.usable = wanted
        return 0

    def wipe(self) -> None:
        """Zero all data that was ever usable, and the manifest with it."""
        for at in range(self.layout.data, self.layout.data + self.usable, len(_ZEROS)):
            end = min(at + len(_ZEROS), self.layout.data + self.usable)
            self._memory[at:end] = _ZEROS[: end - at]
        self._memory[:PAGE] = _ZEROS[:PAGE]
        for journal in self.layout.journals:
            self._memory[journal : journal + PAGE] = _ZEROS[:PAGE]


class Mailbox:
    """The memfd through which values cross from control to fs: fresh for each pair of them, wiped at its end."""

    def __init__(self) -> None:
        self.fd = memory.memfd("secretfs-mailbox", MAILBOX_BYTES)
        self._memory = memory.mapped(self.fd, MAILBOX_BYTES)
        memory.keep_out_of_dumps(self._memory)
        memory.keep_out_of_forks(self._memory)
        memory.mlock(self._memory)

    def end(self) -> None:
        """Wipe it, and let it go."""
        self._memory[:] = bytes(MAILBOX_BYTES)
        self._memory.close()
        os.close(self.fd)
