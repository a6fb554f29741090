"""How a host should be set up for secrets."""

from secretfs.doctor.facts import Engine, Facts, User
from secretfs.doctor.verdict import Verdict, fail, ok, unseen, warn
from secretfs.link.layout import GROW_BYTES, MAILBOX_BYTES

_LEAST_LOCKABLE = GROW_BYTES + MAILBOX_BYTES  # the first step of the arena, and the mailbox
_SANE_SINCE = 1_700_000_000  # seconds since 1970: November 2023
_NO_DUMP = ("/bin/false", "/usr/bin/false", "/bin/true", "/usr/bin/true")


def memory_lock(facts: Facts) -> Verdict:
    """What a daemon that this user starts may lock."""
    name, host = "memory lock", facts.host
    if host.can_lock:
        return ok(name, "memory can be locked without a limit (CAP_IPC_LOCK)")
    if host.memlock_bytes is None:
        return ok(name, "memory can be locked without a limit")
    found = f"this user may lock {_size(host.memlock_bytes)} (ulimit -l), and has no CAP_IPC_LOCK"
    todo = "raise it: LimitMEMLOCK= of the unit, or memlock in /etc/security/limits.conf"
    if host.memlock_bytes < _LEAST_LOCKABLE:
        return fail(name, found, todo)
    return warn(name, f"{found}: that is all that granted values can take", todo)


def swap(facts: Facts) -> Verdict:
    """The arena is never swapped; what control, a client or a task has of a value may be."""
    swaps = facts.host.swaps
    if swaps is None:
        return unseen("swap", "/proc/swaps")
    open_ones = [each.name for each in swaps if not each.compressed and not each.encrypted]
    if open_ones:
        found = f"swap without encryption: {', '.join(open_ones)}: values in the memory of programs may get there"
        return warn("swap", found, "encrypt it (crypttab: swap, a random key), or run swapoff -a")
    if swaps:
        return ok("swap", "encrypted or in memory")
    return ok("swap", "none")


def init_on_free(facts: Facts) -> Verdict:
    """The only thing that overwrites freed socket buffers and pipes."""
    name = "init_on_free"
    if facts.host.init_on_free:
        return ok(name, "the kernel overwrites memory when it is freed")
    found = "the kernel does not overwrite what it frees"
    if facts.host.init_on_free is None:
        found = "nothing says that the kernel overwrites what it frees"
    return warn(name, f"{found}: socket buffers and pipes keep values for a while", "boot with init_on_free=1")


def core_dumps(facts: Facts) -> Verdict:
    """Of tasks, with what they have read; secretfs itself never dumps core."""
    name, host = "core dumps", facts.host
    if host.suid_dumpable is None or host.core_pattern is None:
        return unseen(name, "fs.suid_dumpable or kernel.core_pattern")
    if host.suid_dumpable == 1:
        found = "fs.suid_dumpable is 1: programs that have changed their user dump core, and can be traced"
        return warn(name, found, "run: sysctl fs.suid_dumpable=0")
    if host.core_pattern.startswith("|") and host.core_pattern[1:].split(" ")[0] not in _NO_DUMP:
        found = f"a task that crashes is dumped, with what it has read, to {host.core_pattern[1:]!r}"
        return warn(name, found, "have it keep nothing (systemd: Storage=none in /etc/systemd/coredump.conf)")
    return ok(name, "of tasks, as their ulimit -c allows; of secretfs never")


def ptrace_scope(facts: Facts) -> Verdict:
    """Whether processes of one user may read each other's memory."""
    name, scope = "ptrace scope", facts.host.ptrace_scope
    found = "processes of one user may read each other's memory, and so each other's secrets"
    if scope is None:
        return warn(name, f"no Yama in this kernel: {found}", "give tasks users of their own; boot with yama in lsm=")
    if scope == 0:
        return warn(name, found, "run: sysctl kernel.yama.ptrace_scope=1; give tasks users of their own")
    return ok(name, f"kernel.yama.ptrace_scope is {scope}")


def propagation(facts: Facts) -> Verdict:
    """Of mounts, from the host to tasks and containers."""
    name = "mount propagation"
    if facts.host.root_shared is None:
        return unseen(name, "the mount of /")
    if facts.host.root_shared:
        return ok(name, "/ is shared")
    found = "/ is private: what is mounted later does not appear in running tasks and containers"
    return warn(name, found, "run: mount --make-rshared / (systemd does it at boot)")


def hidepid(facts: Facts) -> Verdict:
    """control, which is not root, tells tasks apart by /proc/PID/stat."""
    host = facts.host
    if host.hidepid in ("0", "off"):
        return ok("hidepid", "processes can be seen by all")
    found = f"/proc is mounted with hidepid={host.hidepid}"
    if host.hidepid_gid:
        return warn("hidepid", f"{found} and gid=", "see that control's group is that one, or tasks cannot attach")
    return fail(
        "hidepid", f"{found}: control cannot look at tasks, so none can attach", "run: mount -o remount,hidepid=0 /proc"
    )


def daemon_users(facts: Facts) -> Verdict:
    """The users of fs and control are nobody else's."""
    name = "users"
    if facts.daemon.rootless:
        return ok(name, "fs and control are the daemon's user")
    wrong = [_complaint(user) for user in facts.users if user.uid == 0 or user.taken_by]
    if wrong:
        return fail(name, "; ".join(wrong), "make system users secretfs-fs and secretfs-control of their own")
    if len({user.uid for user in facts.users}) < len(facts.users):
        found = f"fs and control are both uid {facts.users[0].uid}: one could take over the other"
        return fail(name, found, "give secretfs-fs and secretfs-control different uids")
    return ok(name, ", ".join(f"{user.role} is uid {user.uid}" for user in facts.users))


def clock(facts: Facts) -> Verdict:
    """Times are in the audit log, and versions are told apart by them."""
    store, now = facts.daemon.store, facts.host.now
    if now < _SANE_SINCE:
        return warn("clock", "the clock is years behind", "set it: the audit log has its times")
    if store and store.modified > now + 60:
        return warn("clock", "the store was written in the future: the clock was set back", "set it right")
    return ok("clock", "plausible")


def docker(facts: Facts) -> Verdict:
    """Whether there is one."""
    return _engine(facts, "docker")


def podman(facts: Facts) -> Verdict:
    """Whether there is one."""
    return _engine(facts, "podman")


def _engine(facts: Facts, name: str) -> Verdict:
    """None is fine: secretfs needs no containers."""
    engine = next((each for each in facts.engines if each.name == name), Engine(name, None, "", False))
    if engine.version is None:
        return ok(name, "not installed")
    if engine.version == "":
        return warn(name, f"{name} --version gives no answer", f"look at what {name} is")
    return ok(
        name, f"{engine.version}; " + (f"listens on {engine.socket}" if engine.listening else "no daemon listens")
    )


def _complaint(user: User) -> str:
    if user.uid == 0:
        return f"{user.role} would be root"
    return f"{user.role} is uid {user.uid}, which is {user.taken_by!r} as well"


def _size(number: int) -> str:
    return f"{number >> 20} MiB" if number >> 20 else f"{number >> 10} KiB"
