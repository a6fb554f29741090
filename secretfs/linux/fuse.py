"""What a descriptor of /dev/fuse can do besides reading requests and writing answers, see fuse(4)."""

import os
import select
import struct
from typing import Final

_RESEND: Final = struct.pack("<IiQ", 16, 7, 0)  # fuse_out_header: length, FUSE_NOTIFY_RESEND, unique 0 (Linux 6.9)


def resend(fd: int) -> None:
    """Let the kernel send again what was read and not answered. OSError EINVAL before Linux 6.9."""
    os.write(fd, _RESEND)


def ended(fd: int) -> bool:
    """Whether the connection is over: its last mount was taken away, or it was aborted."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))
