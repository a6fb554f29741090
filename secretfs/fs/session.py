"""libfuse's session, made of the recorded INIT before there is anything to serve.

libfuse takes ``/dev/fd/N`` for a mounted connection. N is a socket at first: INIT comes out of it, and what libfuse
answers goes back into it, so the device is not touched, and another fs may be serving on it. When it is time to serve,
the device takes the socket's place. No patch of pyfuse3 or libfuse.
"""

import errno
import os
import socket
from typing import Final

import pyfuse3

from secretfs.fs import loop
from secretfs.fs.operations import Operations
from secretfs.link.spawn import FsStart
from secretfs.linux import fuse

_HARMLESS: Final = (errno.ENOENT, errno.ENODEV)  # answered long ago; the connection is over, as the loop will find
_MAX_REPLY_BYTES: Final = 4096  # it has 80


class _Once:
    """Lets pyfuse3 take one request, and end its loop."""

    def __init__(self) -> None:
        self._taken = False

    async def wait(self) -> bool:
        taken, self._taken = self._taken, True
        return not taken


class Session:
    """One per process: pyfuse3 knows no more."""

    def __init__(self, start: FsStart, operations: Operations) -> None:
        """``handle_init`` comes next, then ``begin``. ``device`` is what to wait for from there on."""
        self._start = start
        self._reply = b""
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.send(bytes.fromhex(start.init))
        self.device = theirs.detach()
        pyfuse3.init(operations, f"/dev/fd/{self.device}", {"default_permissions"})

    def handle_init(self) -> None:
        """Have libfuse answer INIT. Nobody hears of it yet."""
        loop.install(_Once().wait)
        loop.drive()
        with self._ours:
            self._reply = self._ours.recv(_MAX_REPLY_BYTES)

    def begin(self) -> None:
        """Put the device in place, and give the kernel the answer to INIT, which it has if this is not the first fs.

        Raises OSError; EINVAL if this is a standby and the kernel cannot send requests again.
        """
        os.dup2(self._start.fuse_fd, self.device, inheritable=False)
        if self._start.standby:
            fuse.resend(self.device)  # a supervisor that has just died has not done it
        try:
            os.write(self.device, self._reply)
        except OSError as refusal:
            if refusal.errno not in _HARMLESS:
                raise
