"""Whether the daemon is well, and what is left of others. No daemon is no failure."""

import stat

from secretfs.doctor.facts import Answer, Facts, Key
from secretfs.doctor.verdict import Verdict, fail, ok, unseen, warn

_START = "start it: secretfs daemon"
_LEAST_FREE_BYTES = 64 << 20
_RESERVE_SLACK_BYTES = 64 << 10
_OTHERS = 0o077


def answers(facts: Facts) -> Verdict:
    """It runs, and its API answers."""
    name, daemon = "daemon", facts.daemon
    if daemon.said.locked:
        return warn(
            name, f"secretfs {daemon.said.version} answers, and is locked: no task can start", "secretfs swarm unlock"
        )
    if daemon.said.version is not None:
        return ok(name, f"secretfs {daemon.said.version} answers")
    if daemon.running is None:
        return warn(name, f"none runs with {daemon.runtime.path!r}", _START)
    if daemon.said.closed:
        return unseen(name, f"pid {daemon.running.pid} runs, and its API")
    found = f"pid {daemon.running.pid} runs, and its API does not answer: {daemon.said.silence}"
    return fail(name, found, "look at its log; secretfs daemon --takeover replaces it")


def up_to_date(facts: Facts) -> Verdict:
    """What runs is what is installed."""
    name, daemon = "version", facts.daemon
    pid = daemon.running.pid if daemon.running else None
    todo = "SIGHUP upgrades it, unnoticed by its tasks" + (f": kill -HUP {pid}" if pid else "")
    version = daemon.said.version
    if version is not None and version != daemon.installed:
        return warn(name, f"secretfs {version} runs, {daemon.installed} is installed", todo)
    if daemon.running and daemon.running.older_than_files:
        return warn(name, f"the daemon was started before secretfs {daemon.installed} was installed", todo)
    return ok(name, f"secretfs {daemon.installed} is installed")


def arena(facts: Facts) -> Verdict:
    """All values are in locked memory."""
    name, running = "arena", facts.daemon.running
    if running is None:
        return ok(name, "no daemon, no values in memory")
    if running.arena is None:
        return unseen(name, "the daemon's memory")
    arena = running.arena
    if arena.loose_bytes or arena.swapped_bytes:
        found = f"{arena.loose_bytes} bytes of values are not locked, {arena.swapped_bytes} are swapped out"
        return fail(name, found, "restart the daemon, with CAP_IPC_LOCK or a higher ulimit -l")
    found = f"{arena.locked_bytes >> 20} MiB locked, {arena.max_bytes >> 20} MiB at most"
    limit = arena.may_lock_bytes
    if limit is not None and limit < arena.max_bytes and facts.host.uid:
        return warn(name, f"{found}, but ulimit -l is {limit >> 20} MiB", "raise ulimit -l, or lower --arena-max")
    return ok(name, found)


def dead_mounts(facts: Facts) -> Verdict:
    """Mounts that nobody serves any more hold whoever touches them up, or fail."""
    name = "mounts"
    over, silent = _places(facts, Answer.OVER), _places(facts, Answer.SILENT)
    others = _places(facts, Answer.OVER, of_others=True)
    kinds = (("nobody answers for", silent), ("dead:", over), ("dead, and not of this daemon:", others))
    troubles = [f"{what} {places}" for what, places in kinds if places]
    if silent:
        todo = "look at that daemon; to end the mount: echo 1 > /sys/fs/fuse/connections/NUMBER/abort"
        return fail(name, "; ".join(troubles), todo)
    if over:
        todo = "start its daemon, which repairs it, or end the process; or run umount --lazy on it"
        return fail(name, "; ".join(troubles), todo)
    if others:
        todo = "if it is of another daemon, start that one (with its --runtime-dir), or run umount --lazy on it"
        return warn(name, "; ".join(troubles), todo)
    living = sum(mount.answer is Answer.LIVES for mount in facts.mounts)
    found = (
        f"{living} of {len(facts.mounts)} file systems of secretfs were asked, and answer" if facts.mounts else "none"
    )
    if facts.unseen_namespaces:
        found += f"; not seen: those of {facts.unseen_namespaces} processes"
        if facts.host.uid:
            return warn(name, found, "run it as root: sudo secretfs doctor")
    return ok(name, found)


def _places(facts: Facts, answer: Answer, *, of_others: bool = False) -> str:
    """A silent one holds up whoever touches it, so it matters whoever has made it."""
    found = [mount for mount in facts.mounts if mount.answer is answer]
    if answer is Answer.OVER:
        found = [mount for mount in found if (mount.ours is False) is of_others]
    return ", ".join(f"{mount.place!r} (of process {mount.pid})" for mount in found)


def orphans(facts: Facts) -> Verdict:
    """Processes of secretfs whose supervisor is gone."""
    lost = [process for process in facts.daemon.processes if process.kept is False]
    if lost:
        found = "without a supervisor: " + ", ".join(f"{each.module} (pid {each.pid})" for each in lost)
        todo = "start their daemon again, which takes fs over; without one fs ends after 30 s"
        return warn("processes", found, todo)
    if any(process.kept is None for process in facts.daemon.processes):
        return unseen("processes", "who watches fs and control")
    return ok("processes", f"{len(facts.daemon.processes)} of secretfs, none left behind")


def sockets(facts: Facts) -> Verdict:
    """Each socket file has somebody who listens, and those that should be there are."""
    name, daemon = "sockets", facts.daemon
    if daemon.sockets is None:
        return unseen(name, "/proc/net/unix")
    there = [each for each in daemon.sockets if each.mode is not None]
    stale = [each.name for each in there if not each.listening]
    if stale and daemon.running is None:
        found = f"nobody listens on {', '.join(stale)}: a daemon was killed"
        return warn(name, found, "start it again: it makes them anew")
    missing = [each.name for each in daemon.sockets if each.mode is None or not each.listening]
    if daemon.running and missing:
        found = f"the daemon runs, but cannot be reached at {', '.join(missing)}"
        return fail(name, found, f"was {daemon.runtime.path!r} emptied? restart the daemon")
    return ok(name, ", ".join(each.name for each in there) + " listen" if there else "none")


def api_access(facts: Facts) -> Verdict:
    """Whoever may use api.sock can have every secret."""
    name, daemon = "api access", facts.daemon
    members = daemon.api_members
    api = next((each for each in daemon.sockets or () if each.name == "api.sock" and each.mode is not None), None)
    if api and api.mode is not None and api.mode & stat.S_IRWXO:
        found = f"api.sock is open to every user (mode {api.mode:04o}): each of them can have every secret"
        return fail(name, found, f"run: chmod 0660 {daemon.runtime.path}/api.sock")
    if api and api.mode is not None and api.mode & stat.S_IRWXG and api.gid not in (0, daemon.api_gid):
        found = f"api.sock belongs to group {api.gid}"
        return warn(name, found, "give it to group secretfs, or restart the daemon")
    if members is None or daemon.rootless:
        return ok(name, "for the daemon's own user alone")
    if members:
        found = f"these users can have every secret: {', '.join(members)}"
        return warn(name, found, "have nobody in the group secretfs whom you would not make root")
    return ok(name, "root alone: the group secretfs has no members")


def runtime_dir(facts: Facts) -> Verdict:
    """Nobody else can put sockets in the daemon's place."""
    found = facts.daemon.runtime
    if found.mode is None:
        return ok("runtime directory", f"{found.path!r} is made at the first start")
    if found.mode & 0o022:
        text = f"{found.path!r} can be written by others (mode {found.mode:04o})"
        return fail("runtime directory", text, f"run: chmod go-w {found.path}")
    return ok("runtime directory", found.path)


def mountpoint(facts: Facts) -> Verdict:
    """A daemon mounts on an empty directory only."""
    name, place = "mountpoint", facts.daemon.mountpoint
    if facts.daemon.rootless:
        return ok(name, f"{place.path}, in a mount namespace of the daemon's own")
    if place.entries is None:
        return unseen(name, repr(place.path))
    if place.entries and not place.mounted:
        todo = "empty it, or start the daemon with another --mountpoint"
        return fail(name, f"{place.path!r} is not empty: the daemon will not start", todo)
    return ok(name, f"{place.path} is {'mounted' if place.mounted else 'free'}")


def state_dir(facts: Facts) -> Verdict:
    """The store is control's alone."""
    name, state = "state directory", facts.daemon.state
    if state is None:
        return unseen(name, "it")
    if state.mode is None:
        return ok(name, f"{state.path!r} is made at the first start")
    if state.mode & _OTHERS:
        found = f"{state.path!r} is open to others (mode {state.mode:04o})"
        return fail(name, found, f"run: chmod 0700 {state.path}")
    owners = {0, facts.host.uid, *(user.uid for user in facts.users if user.role == "control")}
    if state.uid not in owners:
        found = f"{state.path!r} belongs to uid {state.uid}"
        return fail(name, found, f"run: chown root {state.path}")
    return ok(name, f"{state.path} (mode {state.mode:04o})")


def disk(facts: Facts) -> Verdict:
    """There is room to go on, and the reserve by which a full disk stops no removal."""
    state, store = facts.daemon.state, facts.daemon.store
    if state is None or store is None:
        return unseen("disk", "the store's disk")
    if state.mode is None:
        return ok("disk", "no store yet")
    free = f"{state.free_bytes >> 20} MiB free"
    if state.free_bytes < _LEAST_FREE_BYTES:
        return warn("disk", f"the store's disk is nearly full: {free}", "make room: nothing can be created soon")
    if store.size is not None and (store.reserve or 0) < _RESERVE_SLACK_BYTES:
        found = f"{free}, but the reserve for removals is used up or missing"
        return warn("disk", found, "start the daemon, or write to the store: that makes it anew")
    return ok("disk", free)


def root_key(facts: Facts) -> Verdict:
    """The key is its owner's alone, and not beside what it opens."""
    name, key = "root key", facts.daemon.key
    if key is None:
        return unseen(name, "its file")
    if key.path is None:
        return ok(name, f"from {key.source.partition(':')[0]}, not from a file")
    if key.mode is None:
        return _missing_key(facts, key.path)
    return _key_file(facts, key, key.path)


def _missing_key(facts: Facts, path: str) -> Verdict:
    name, store = "root key", facts.daemon.store
    if store is None:
        return unseen(name, "whether there is a store that needs one")
    if store.size is not None:
        found = f"there is a store, and {path!r} is not there: no value can be opened without it"
        return fail(name, found, "restore it from its backup; nothing else opens the store")
    return ok(name, f"{path!r} is made at the first start")


def _key_file(facts: Facts, key: Key, path: str) -> Verdict:
    name, mode = "root key", key.mode or 0
    if mode & _OTHERS:
        return fail(name, f"{path!r} is open to others (mode {mode:04o})", f"run: chmod 0600 {path}")
    if key.uid not in (0, facts.host.uid):
        return fail(name, f"{path!r} belongs to uid {key.uid}", f"run: chown root {path}")
    state = facts.daemon.state
    if state is not None and path.startswith(state.path.rstrip("/") + "/"):
        found = f"{path!r} lies in the state directory: a copy of that has all"
        return warn(name, found, "move it, and start the daemon with --root-key file:PATH")
    return ok(name, f"{path} (mode {mode:04o})")
