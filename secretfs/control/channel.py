"""Frames over the sockets to the other two processes, as trio waits for them."""

import socket
from collections.abc import Sequence

import trio

from secretfs.errors import LinkError
from secretfs.link import codec
from secretfs.link.codec import Frame
from secretfs.linux import seqpacket
from secretfs.linux.packets import next_packet


async def next_frame(end: socket.socket, max_fds: int = 0) -> tuple[Frame, list[int]] | None:
    """The next frame and its descriptors, the caller's to close; None at the end of file. Raises LinkError."""
    received = await next_packet(end, codec.MAX_FRAME_BYTES, max_fds)
    return (codec.decode(received[0]), received[1]) if received else None


async def send(end: socket.socket, frame: Frame, fds: Sequence[int] = ()) -> None:
    """Send it, when the peer has room; one sender of a socket at a time. Raises LinkError when it is gone."""
    packet = codec.encode(frame)
    while True:
        try:
            return seqpacket.send(end, packet, fds)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(end)
        except OSError as gone:
            raise LinkError(f"the peer is gone: {gone.strerror}") from gone
