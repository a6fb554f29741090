"""Who a peer of an attach socket is, and what it may. Rule: the kernel's word alone, before a byte is read.

A uid says who somebody is on this host only where the host's users live: in the daemon's pid namespace. Root of a
container without a user namespace becomes any uid of the host, so there a uid says nothing, and a container gets the
socket of a service instead, which is good for that service and nothing else. Whoever is a uid in the host's pid
namespace could enter the tasks of that uid in any case, by /proc/PID/root.

A user namespace changes no uid (the kernel translates it to ours), and a mount namespace of his own is what every
second system service has: neither is asked of a user. Of root both are: what is root in another user namespace, or
sees other mounts, is somebody's container.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol

from secretfs.control.audit import Caller
from secretfs.control.broker import Namespaces
from secretfs.control.usecases.rights import Rights
from secretfs.core.names import ServiceId, ServiceName
from secretfs.errors import PermissionDeniedError
from secretfs.linux import namespaces, peer

_ROOT: Final = 0
_OVERFLOW: Final = 65534  # /proc/sys/kernel/overflowuid: what an id without a meaning here is shown as


class Broker(Protocol):
    """What is needed of control/broker.py."""

    @property
    def own(self) -> Namespaces:
        """The daemon's."""

    async def namespaces(self, pidfd: int) -> Namespaces:
        """A process's. Raises: NotFoundError when it is gone."""


@dataclass(frozen=True, slots=True)
class Door:
    """Which socket a peer came through: everybody's, or the one of a service."""

    service: ServiceId | None = None
    name: ServiceName | None = None


EVERYBODYS: Final = Door()


class Gate:
    """Checks peers. ``api_gid``: the group that may use the API, which is as good as every secret; 0: there is none."""

    def __init__(self, broker: Broker, api_gid: int) -> None:
        self._broker = broker
        self._api_gid = api_gid
        self._nobody = {kind: not namespaces.mapped(_OVERFLOW, kind) for kind in ("uid", "gid")}

    async def rights(self, connection: peer.HasOptions, caller: Caller, pidfd: int, door: Door) -> Rights:
        """What the peer may. Raises: PermissionDeniedError; NotFoundError when it is gone."""
        theirs = await self._broker.namespaces(pidfd)
        own = self._broker.own
        elsewhere = theirs != own if caller.uid == _ROOT else theirs.pid != own.pid
        if door.service is not None and elsewhere:
            return Rights(trusted=True, only=door.service)
        if caller.uid == _ROOT and not elsewhere:
            return Rights(trusted=True, only=door.service)
        if caller.uid == _ROOT:
            raise PermissionDeniedError(
                "root of another user, pid or mount namespace may not attach tasks: start them on the host, "
                "or give the container the socket of its service"
            )
        if elsewhere:
            raise PermissionDeniedError(
                f"uid {caller.uid} of another pid namespace may not attach tasks: start them on the host, "
                "or give the container the socket of its service"
            )
        if caller.uid == _OVERFLOW and self._nobody["uid"]:
            raise PermissionDeniedError("a uid that means nobody here may not attach tasks: let root start them")
        gids = self._known(caller.gid, *peer.groups(connection))
        trusted = self._api_gid != _ROOT and self._api_gid in gids
        return Rights(trusted=trusted, gids=gids, only=door.service)

    async def check_root(self, caller: Caller, pidfd: int) -> None:
        """Let only the root that the daemon is mount where others are. Raises: PermissionDeniedError; NotFoundError."""
        if caller.uid != _ROOT or await self._broker.namespaces(pidfd) != self._broker.own:
            raise PermissionDeniedError(
                f"uid {caller.uid} may not mount a tree: only root of the host may; a task of its own gets one with "
                "'secretfs run'"
            )

    def _known(self, *gids: int) -> Collection[int]:
        """Without what stands for a group that means nothing here."""
        return frozenset(gids) - ({_OVERFLOW} if self._nobody["gid"] else set())
