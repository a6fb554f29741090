"""A standby: an fs that is loaded and locked in, and serves only when the one before it is dead.

Two that read one device, or write one manifest, are one too many. So it waits for a word; and where the supervisor dies
between that word and the end of the one before, for that end itself.
"""

import os
import socket
from typing import Final

import trio

from secretfs.fs.links import next_frame
from secretfs.link import codec, pulse, serving
from secretfs.link.codec import Frame
from secretfs.linux import seqpacket

LAST_SECONDS: Final = 1.0  # for the one before to end, when the supervisor went between the word and the end


async def called(end: socket.socket) -> int | None:
    """Bytes of the arena that are usable, when it is time to serve; None when it never will be. Raises LinkError."""
    _say(end, serving.Loaded())
    usable, fds = await _told(end)
    if usable is None or not fds:
        return usable
    try:
        return usable if await _over(end, fds[0]) else None
    finally:
        os.close(fds[0])


async def _told(end: socket.socket) -> tuple[int | None, list[int]]:
    """What came with Go; None when another word came, or none will."""
    while (received := await next_frame(end, max_fds=1)) is not None:
        match received:
            case pulse.Ping(beat), []:
                _say(end, pulse.Pong(beat))
            case serving.Go(usable), fds:
                return usable, fds
            case _, fds:
                for fd in fds:
                    os.close(fd)
                break
    return None, []


async def _over(end: socket.socket, before: int) -> bool:
    """Wait until the one before is dead, by its pidfd or by a second word; whether it is."""
    dead = False
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            nonlocal dead
            await trio.lowlevel.wait_readable(before)
            dead = True
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        usable, _ = await _told(end)
        if usable is None:
            await trio.sleep(LAST_SECONDS)
        else:
            dead = True
        nursery.cancel_scope.cancel()
    return dead


def _say(end: socket.socket, frame: Frame) -> None:
    try:
        seqpacket.send(end, codec.encode(frame))
    except OSError:  # gone, which is what next_frame finds
        return
