"""control: read the root key and take the state directory along, lock in, then serve the sockets.

What needs root comes first: the root key, and a mount namespace of its own in which ``/tmp`` is the state directory. So
a parent that only root may pass (a temporary directory, pytest) is no obstacle, and no temporary file of any library
can land anywhere else.

Landlock then leaves that directory, the sockets of services, /proc (who is it that attaches, what does a program that
opened a file call itself) and /etc (what number has a user), the latter two to be read.
"""

import contextlib
import gc
import grp
import os
import pwd
import resource
import socket
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import trio

from secretfs.control import log
from secretfs.control.assembly import Parts, assembled, serve
from secretfs.control.broker import Broker
from secretfs.control.fs_link import FsLink
from secretfs.control.opens import Opens
from secretfs.control.records.cluster import cluster
from secretfs.control.repairs import Repairs
from secretfs.control.sole import sole
from secretfs.control.syscalls import MISSING, RULES
from secretfs.control.usecases.membership import erase
from secretfs.crypto.certificate import issuer, root_certificate
from secretfs.crypto.rootkey import root_key
from secretfs.errors import (
    CorruptRecordError,
    LinkError,
    RootKeyError,
    SecretfsError,
    SetupError,
    StoreError,
    StoreVersionError,
)
from secretfs.link.spawn import ControlStart
from secretfs.linux import landlock, process, seccomp, seqpacket
from secretfs.linux.mount import MS_BIND, MS_PRIVATE, MS_REC, mount
from secretfs.linux.namespaces import CLONE_NEWNS, unshare
from secretfs.linux.preload import preload
from secretfs.linux.terminal import one_line
from secretfs.store.sqlite import opened

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78  # sysexits.h: no restart will help (supervisor/main.py)
_STATE: Final = "/tmp"  # noqa: S108 - not shared: see above
_READ: Final = ("/proc", "/etc")
_LOCK: Final = "control.lock"
_DATABASE: Final = "secretfs.db"


def main() -> int:
    """Serve as ``sys.argv`` says (link/spawn.py); the exit code says whether another start can help."""
    start = ControlStart.parse(sys.argv[1:])
    code = 0
    try:
        key = root_key(start.root_key, create=not Path(start.state_dir, _DATABASE).exists())
        _lock_in(start)
        trio.run(_run, start, key)
    except* (RootKeyError, StoreVersionError, CorruptRecordError, SetupError) as refusals:
        _say(refusals)
        code = EXIT_CONFIG
    except* LinkError as ends:  # at each upgrade: the next supervisor starts the next control
        log.warning("the supervisor is gone", error=str(next(_errors(ends))))
        code = EXIT_FAILED
    except* StoreError as failures:
        _say(failures)
        code = EXIT_FAILED
    return code


def _say(group: BaseExceptionGroup[SecretfsError]) -> None:
    for error in _errors(group):
        sys.stderr.write(f"secretfs: error: {one_line(str(error))}\n")


def _errors(group: BaseExceptionGroup[SecretfsError]) -> Iterator[SecretfsError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _errors(error)
        else:
            yield error


def _lock_in(start: ControlStart) -> None:
    """The state directory as /tmp, own uid, no capabilities, no new privileges, no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a pidfd for each process that a task waits for
    preload()
    _preload()
    unshare(CLONE_NEWNS)  # from here on /tmp is another directory, wherever secretfs is installed
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    mount(start.state_dir, _STATE, flags=MS_BIND)
    if start.services_fd >= 0:
        os.set_inheritable(start.services_fd, False)
    os.umask(0o077)
    gc.freeze()
    if os.getuid() == 0:
        process.drop_bounding_set()
    if start.uid != os.getuid():
        process.drop_to(start.uid, start.gid)
    process.drop_capabilities()
    process.set_dumpable(False)
    services = [f"/proc/self/fd/{start.services_fd}"] if start.services_fd >= 0 else []
    landlock.restrict(read=_READ, write=[_STATE, *services], signals=True)  # the last control may have to be ended
    seccomp.restrict(RULES, MISSING, otherwise=True)


def _preload() -> None:
    """What lies where nothing can be opened any more: the modules that look up users, SQLite's random numbers, and what
    a certificate takes.
    """
    issuer(root_certificate(datetime.now(UTC)))
    for look_up in (pwd.getpwnam, grp.getgrnam):
        with contextlib.suppress(KeyError):
            look_up("no such name")
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("SELECT randomblob(1)")


async def _run(start: ControlStart, key: bytes) -> None:
    broker = Broker(seqpacket.adopt(start.supervisor_fd))
    await sole(Path(_STATE, _LOCK))
    async with opened(Path(_STATE, _DATABASE), Path(start.state_dir, _DATABASE)) as store:
        kept = {"audit_bytes": start.audit_bytes, "audit_seconds": start.audit_seconds}
        keys = await cluster(store, key)
        if keys.left:
            await erase(store)
        parts = await assembled(store=store, keys=keys, **kept)
        async with trio.open_nursery() as nursery:
            await _serve(start, parts, broker, nursery)
            await broker.stopped()
            nursery.cancel_scope.cancel()


async def _serve(start: ControlStart, parts: Parts, broker: Broker, background: trio.Nursery) -> None:
    """Until the supervisor says stop and every tree is flushed; the words with it and with fs go on meanwhile."""
    stop = trio.Event()
    repairs = Repairs(broker)
    fs_link = FsLink(
        sealed=parts.values.sealed,
        trees=parts.trees.desired,
        synced=repairs.due,
        refused=parts.trees.refused,
        withheld=parts.trees.withheld,
    )
    background.start_soon(_hear, broker, fs_link, stop)
    background.start_soon(fs_link.run)
    background.start_soon(repairs.run)
    await broker.identified()
    async with trio.open_nursery() as nursery:
        listeners = [_adopted(fd) for fd in (start.api_fd, start.attach_fd)]
        serving = partial(serve, parts, broker=broker, fs_link=fs_link, stop=stop, api_gid=start.api_gid)
        serving = partial(serving, services=None if start.services_fd < 0 else start.services_fd)
        opens = Opens(start.ring_fd, start.ring_event_fd, parts.commits) if start.ring_fd >= 0 else None
        serving = partial(serving, opens=opens)
        await nursery.start(partial(serving, api_listener=listeners[0], attach_listener=listeners[1]))
        await broker.ready()


async def _hear(broker: Broker, fs_link: FsLink, stop: trio.Event) -> None:
    await broker.run(wired=fs_link.wired, stop=stop.set)
    raise LinkError("end of file")


def _adopted(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)
