"""Packets with descriptors over a SEQPACKET socketpair (unix(7)), without blocking.

A packet arrives whole or not at all; descriptors that were sent with it arrive with it.
"""

import errno
import os
import socket
from collections.abc import Sequence

from secretfs.linux.descriptors import receive_fds


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, non-blocking, close-on-exec."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def adopt(fd: int) -> socket.socket:
    """The end that another process left behind as descriptor ``fd``: close-on-exec and non-blocking from here."""
    os.set_inheritable(fd, False)
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=fd)
    end.setblocking(False)
    return end


def send(end: socket.socket, packet: bytes, fds: Sequence[int] = ()) -> None:
    """Send one packet. Raises BlockingIOError when the peer does not read, another OSError when it is gone."""
    if fds:
        socket.send_fds(end, [packet], list(fds), socket.MSG_NOSIGNAL)
    else:
        end.send(packet, socket.MSG_NOSIGNAL)


def receive(end: socket.socket, max_bytes: int, max_fds: int = 0) -> tuple[bytes, list[int]]:
    """One packet and its descriptors (close-on-exec; the caller's to close); an empty packet is the end of file.

    Raises BlockingIOError when there is none. A packet that was cut (it was longer than ``max_bytes``) comes back cut:
    the codec refuses it. Where descriptors were asked for and not all of them found a place here, the packet is lost:
    OSError EMFILE, and none of them is left open.
    """
    if not max_fds:
        return end.recv(max_bytes), []
    packet, fds, flags = receive_fds(end, max_bytes, max_fds)
    if flags & socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return packet, fds
