"""The attach sockets of services, RUNTIME/services/NAME/attach.sock. Rule: there is one for each service in the store.

Made to be mounted into a container: whoever reaches it begins tasks of that service, and of no other. The users of the
host do not reach it: the directory above all of them is control's, and open to the group of the API at most.

It is the directory that a container mounts, so it stays the same over a restart, and the socket appears in it in one
step. The listeners end with control; a client that finds nobody asks again for as long as a restart takes.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterable
from typing import Final

import trio

from secretfs.control import log
from secretfs.control.frontends import attach
from secretfs.control.frontends.gate import Door
from secretfs.control.records.codec import decode, everything
from secretfs.control.records.services import SERVICES
from secretfs.core.names import ServiceId, ServiceName
from secretfs.core.service import Service
from secretfs.errors import CorruptRecordError, SecretfsError
from secretfs.store.base import Changes, Item, Store

RETRY_SECONDS: Final = 1.0
_NAME: Final = "attach.sock"
_NEW: Final = ".attach.sock"
_BACKLOG: Final = 128
_DIRECTORY_MODE: Final = 0o755  # ids of containers are anybody's here; so is whoever may come this far
_SOCKET_MODE: Final = 0o666
_PREFIX: Final = SERVICES.key("")


class ServiceSockets:
    """``directory``: a descriptor of RUNTIME/services, which control may write to."""

    def __init__(self, directory: int, store: Store, frontend: attach.Frontend) -> None:
        self._directory = directory
        self._store = store
        self._frontend = frontend
        self._served: dict[ServiceId, tuple[ServiceName, trio.CancelScope]] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve every service's socket, until cancelled; then nobody can connect any more."""
        async with trio.open_nursery() as nursery:
            rev = await self._all(nursery)
            task_status.started()
            while True:
                rev = await self._next(rev, nursery)

    async def _all(self, nursery: trio.Nursery) -> int:
        """Serve what the store has, and remove what it has not; a damaged record may be any service's."""
        listing = await everything(self._store, _PREFIX)
        services = {ServiceId(item.key.removeprefix(_PREFIX)): _service_of(item) for item in listing.items}
        for service_id, (_, scope) in self._served.items():
            if service_id not in services:
                scope.cancel()
        if not listing.damaged and None not in services.values():
            self._remove_others({service.name for service in services.values() if service is not None})
        for service in services.values():
            await self._serve(service, nursery)
        return listing.rev

    async def _next(self, rev: int, nursery: trio.Nursery) -> int:
        try:
            changes = await self._store.watch(_PREFIX, rev)
            if not isinstance(changes, Changes):
                return await self._all(nursery)
        except SecretfsError as exc:
            log.error("the store does not say what changes", error=str(exc))
            await trio.sleep(RETRY_SECONDS)
            return rev
        for key, item in changes.changes:
            if item is not None:
                await self._serve(_service_of(item), nursery)
            elif served := self._served.get(ServiceId(key.removeprefix(_PREFIX))):
                served[1].cancel()
        return changes.rev

    async def _serve(self, service: Service | None, nursery: trio.Nursery) -> None:
        if service is None or service.id in self._served:
            return
        try:
            listener = self._listener(service.name)
        except OSError as exc:
            log.error("a service has no socket of its own", service=service.name, error=str(exc))
            return
        self._served[service.id] = service.name, trio.CancelScope()
        nursery.start_soon(self._serve_until_removed, service, listener)

    async def _serve_until_removed(self, service: Service, listener: socket.socket) -> None:
        """Cancelled alone, the service is removed; else control ends, and the directory stays for the next one."""
        scope = self._served[service.id][1]
        try:
            with listener, scope:
                await attach.serve(listener, self._frontend, door=Door(service.id, service.name))
        finally:
            del self._served[service.id]
            again = service.name in (name for name, _ in self._served.values())  # created anew meanwhile
            if not again:
                self._remove(service.name, directory=scope.cancelled_caught)

    def _listener(self, name: str) -> socket.socket:
        """Listening at its place. The path goes by a descriptor: it may be too long for a socket's address, and control
        does not see every path that there is.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=self._directory)
        home = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            os.chmod(f"/proc/self/fd/{home}", _DIRECTORY_MODE)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_NEW, dir_fd=home)
            _bind(listener, f"/proc/self/fd/{home}/{_NEW}")
            listener.listen(_BACKLOG)
            os.rename(_NEW, _NAME, src_dir_fd=home, dst_dir_fd=home)
        except OSError:
            listener.close()
            raise
        finally:
            os.close(home)
        return listener

    def _remove_others(self, names: Iterable[str]) -> None:
        for name in set(os.listdir(self._directory)) - set(names):
            self._remove(name, directory=True)

    def _remove(self, name: str, *, directory: bool) -> None:
        """Our socket, and our directory; what somebody else has put there stays."""
        try:
            for socket_name in (_NAME, _NEW):
                path = f"{name}/{socket_name}"
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISSOCK(os.stat(path, dir_fd=self._directory, follow_symlinks=False).st_mode):
                        os.unlink(path, dir_fd=self._directory)
            if directory:
                os.rmdir(name, dir_fd=self._directory)
        except OSError as exc:
            log.error("the socket of a service is left behind", service=name, error=str(exc))


def _bind(listener: socket.socket, path: str) -> None:
    """Bind, so that the socket has its mode from the first moment: root of a container that may write there could have
    put a link in its place before a chmod, which would follow it.
    """
    umask = os.umask(0o777 & ~_SOCKET_MODE)  # for a moment, of SQLite's threads as well: their directory is 0700
    try:
        listener.bind(path)
    finally:
        os.umask(umask)


def _service_of(item: Item) -> Service | None:
    try:
        return decode(item, SERVICES.type)
    except CorruptRecordError:
        log.error("a record is damaged", key=item.key)
        return None
