"""Descriptors that come with a packet, see unix(7) and cmsg(3).

Without socket.py: it makes enumerations of all its constants, and a program that is started with a secret would wait
for that.
"""

from _socket import CMSG_LEN, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET, socket

_INT_BYTES = 4  # a descriptor in a control message


def receive_fds(end: socket, max_bytes: int, max_fds: int) -> tuple[bytes, list[int], int]:
    """One packet, its descriptors (close-on-exec from the start) and the flags of recvmsg(2).

    socket.recv_fds of Python 3.11 takes flags and forgets them, MSG_CMSG_CLOEXEC as well.
    """
    room = CMSG_LEN(max_fds * _INT_BYTES)
    packet, control, flags, _address = end.recvmsg(max_bytes, room, MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, data in control:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            fds += memoryview(data)[: len(data) - len(data) % _INT_BYTES].cast("i")
    return packet, fds, flags
