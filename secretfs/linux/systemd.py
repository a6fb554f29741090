"""What systemd wants to know, see sd_notify(3). Where nobody asked, nothing is said."""

import contextlib
import os
import socket


def notify(*states: str) -> None:
    """Say it, if $NOTIFY_SOCKET names somebody."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.sendto("\n".join(states).encode(), "\0" + path[1:] if path.startswith("@") else path)
