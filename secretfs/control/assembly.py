"""How the parts of control are put together. Rule: what is shown is known before fs is asked for anything.

``assembled`` reads the store and gives what the link to fs needs; ``serve`` runs everything else until it is
told to stop.
"""

import socket
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import trio

from secretfs.control import log
from secretfs.control.api import server
from secretfs.control.api.application import api
from secretfs.control.chain import Chain
from secretfs.control.frontends import attach
from secretfs.control.frontends.service_sockets import ServiceSockets
from secretfs.control.keys import Keys
from secretfs.control.opens import Opens, audited
from secretfs.control.ports import FileSystem, Mounts, Processes, Telling
from secretfs.control.reconcile import Reconciler
from secretfs.control.telling import Tellings
from secretfs.control.trees import Trees
from secretfs.control.usecases.commits import Commits
from secretfs.control.usecases.keys import Rotation
from secretfs.control.usecases.swarm import Swarm
from secretfs.control.usecases.tasks import Tasks
from secretfs.control.values import Values
from secretfs.errors import SecretfsError
from secretfs.link.spawn import AUDIT_BYTES, AUDIT_SECONDS
from secretfs.store.base import Store

LAST_SECONDS: Final = 0.4
FLUSH_SECONDS: Final = 3.0  # for all trees together when the daemon stops; it has to be gone within 5


@dataclass(frozen=True, slots=True)
class Parts:
    """``values.sealed`` and ``trees.desired`` are what FsLink is made with."""

    store: Store
    keys: Keys
    values: Values
    trees: Trees
    commits: Commits


class Broker(Processes, Mounts, Telling, attach.Broker, Protocol):
    """What the reconciler and the attach socket need of the supervisor."""


async def assembled(
    *, store: Store, keys: Keys, audit_bytes: int = AUDIT_BYTES, audit_seconds: int = AUDIT_SECONDS
) -> Parts:
    """The parts that come before fs, with all desired trees; how much of the audit is kept. Raises: StoreError."""
    trees = Trees(store)
    await trees.load()
    chain = Chain(keys.audit_key, most_bytes=audit_bytes, most_seconds=audit_seconds)
    return Parts(store, keys, Values(store, keys), trees, Commits(store, chain))


async def serve(
    parts: Parts,
    *,
    broker: Broker,
    fs_link: FileSystem,
    api_listener: socket.socket,
    attach_listener: socket.socket,
    stop: trio.Event,
    services: int | None = None,
    api_gid: int = 0,
    opens: Opens | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """API, attach sockets and reconciler until stop is set; then nothing new, every tree flushed, the records
    of tasks kept.

    ``services`` is the directory of the services' sockets, ``api_gid`` the group that may use the API, or 0. started()
    is called when all answer. The listening sockets and the directory stay the caller's.
    """
    keys, trees, commits = parts.keys, parts.trees, parts.commits
    asked = {"attached": opens.attached} if opens else {}
    tasks = Tasks(commits, trees, fs_link, broker, check_unlocked=keys.check, **asked)
    rotation = Rotation(commits, keys, parts.values)

    async def unlocked() -> None:
        rotation.resume()
        await trees.renew(fs_link)

    swarm = Swarm(commits, keys, unlocked=unlocked)
    handler = api(commits, parts.values, tasks, swarm, rotation)
    tellings = Tellings(commits, trees, parts.values, fs_link, broker)
    trees.changed = tellings.changed
    if keys.locked:
        log.warning("locked: nothing new is shown until 'secretfs swarm unlock' has the unlock key")
    else:
        rotation.resume()
    async with trio.open_nursery() as nursery, trio.open_nursery() as frontends:
        for background in (swarm.run, rotation.run, tellings.run, partial(audited, commits, opens)):
            frontends.start_soon(background)
        reconciler = Reconciler(parts.store, tasks, trees, fs_link, broker)
        await frontends.start(reconciler.run)
        frontend = attach.Frontend(tasks, broker, api_gid=api_gid)
        await frontends.start(attach.serve, attach_listener, frontend)
        if services is not None:
            await frontends.start(ServiceSockets(services, parts.store, frontend).run)
        await nursery.start(_api, api_listener, handler, stop)
        task_status.started()
        await stop.wait()
        frontends.cancel_scope.cancel()
    await _flush(trees, fs_link)
    await _last(opens)


async def _last(opens: Opens | None) -> None:
    """What was opened until the end; the ring ends with the daemon."""
    if opens is None:
        return
    with trio.move_on_after(LAST_SECONDS, shield=True):
        try:
            await opens.rest()
        except SecretfsError as exc:
            log.error("the last opens are not in the audit", error=str(exc))


async def _api(
    listener: socket.socket,
    handler: server.Handler,
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    await server.serve(listener, handler, stop=stop, task_status=task_status)


async def _flush(trees: Trees, fs_link: FileSystem) -> None:
    with trio.move_on_after(FLUSH_SECONDS, shield=True) as scope:
        await trees.end_all(fs_link)
    if scope.cancelled_caught:
        log.error("not every tree was flushed in time: the supervisor wipes the arena", seconds=FLUSH_SECONDS)
