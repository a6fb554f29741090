"""All checks, in the order in which they are shown."""

from collections.abc import Callable
from typing import Final

from secretfs import __version__
from secretfs.doctor import checks_daemon, checks_host, checks_kernel, daemon, machine, mounts
from secretfs.doctor.daemon import Places
from secretfs.doctor.facts import Daemon, Directory, Facts, Said
from secretfs.doctor.verdict import Verdict

API_GROUP: Final = "secretfs"

CHECKS: Final[tuple[Callable[[Facts], Verdict], ...]] = (
    checks_kernel.fuse_device,
    checks_kernel.fuse_mount,
    checks_kernel.resend,
    checks_kernel.peer_pidfd,
    checks_kernel.landlock,
    checks_kernel.seccomp,
    checks_kernel.user_namespaces,
    checks_host.memory_lock,
    checks_host.swap,
    checks_host.init_on_free,
    checks_host.core_dumps,
    checks_host.ptrace_scope,
    checks_host.hidepid,
    checks_host.propagation,
    checks_host.daemon_users,
    checks_host.clock,
    checks_host.docker,
    checks_host.podman,
    checks_daemon.answers,
    checks_daemon.up_to_date,
    checks_daemon.arena,
    checks_daemon.dead_mounts,
    checks_daemon.orphans,
    checks_daemon.sockets,
    checks_daemon.api_access,
    checks_daemon.runtime_dir,
    checks_daemon.mountpoint,
    checks_daemon.state_dir,
    checks_daemon.disk,
    checks_daemon.root_key,
)


def verdicts(facts: Facts) -> list[Verdict]:
    """Of every check."""
    return [check(facts) for check in CHECKS]


def facts_of(places: Places, said: Said) -> Facts:
    """Everything, looked at now."""
    states, unseen = mounts.mount_states(places.runtime_dir)
    listening = machine.listening_sockets()
    return Facts(
        kernel=machine.kernel(),
        host=machine.host(),
        users=machine.users(),
        engines=machine.engines(listening or frozenset()),
        mounts=states,
        unseen_namespaces=unseen,
        daemon=_daemon(places, listening, said),
    )


def _daemon(places: Places, listening: frozenset[str] | None, said: Said) -> Daemon:
    """A daemon that runs knows best where its store and its key are."""
    running = daemon.running(places.runtime_dir)
    start = running.start if running else None
    state_dir = start.state_dir if start else places.state_dir
    members, gid = machine.group_members(API_GROUP)
    return Daemon(
        running=running,
        said=said,
        installed=__version__,
        processes=daemon.processes(),
        sockets=daemon.sockets(places.runtime_dir, listening),
        api_members=members,
        api_gid=gid,
        runtime=daemon.directory(places.runtime_dir) or Directory(places.runtime_dir, None),
        mountpoint=daemon.mountpoint(start.mountpoint if start else places.mountpoint),
        state=daemon.directory(state_dir),
        store=daemon.store(state_dir),
        key=daemon.key(start.root_key if start else places.root_key),
    )
