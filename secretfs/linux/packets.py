"""Packets over a SEQPACKET socketpair, as trio waits for them. Rule: however the peer went, it is the end of file."""

import errno
import socket

import trio

from secretfs.linux import seqpacket


async def next_packet(end: socket.socket, max_bytes: int, max_fds: int = 0) -> tuple[bytes, list[int]] | None:
    """The next packet and its descriptors, the caller's to close; None at the end of file.

    A packet whose descriptors found no place in this process is passed over: an answer that never comes is one that
    the asker has a deadline for, an answer without its descriptors would be a wrong one.
    """
    while True:
        await trio.lowlevel.wait_readable(end)
        try:
            packet, fds = seqpacket.receive(end, max_bytes, max_fds)
        except BlockingIOError:
            continue
        except OSError as exc:
            if exc.errno == errno.EMFILE:
                continue
            return None
        return (packet, fds) if packet else None
