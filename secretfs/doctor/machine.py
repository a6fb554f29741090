"""Looks at the kernel and the host. What cannot be read is None, and stops nothing."""

import errno
import grp
import os
import platform
import pwd
import re
import resource
import shutil
import socket
import subprocess
import time
import zlib
from pathlib import Path
from typing import Final

from secretfs.doctor import trial
from secretfs.doctor.facts import Device, Engine, Host, Kernel, Swap, User
from secretfs.linux import landlock, peer, seccomp
from secretfs.supervisor.setup import control_ids, fs_ids

_DEVICE: Final = "/dev/fuse"
_CAP_IPC_LOCK: Final = 14  # linux/capability.h
_VERSION_SECONDS: Final = 5.0
_ENGINES: Final = (("docker", "/var/run/docker.sock"), ("podman", "/run/podman/podman.sock"))
_ROLES: Final = (("fs", "secretfs-fs", fs_ids), ("control", "secretfs-control", control_ids))
_MAX_TEXT: Final = 1 << 20
_INIT_ON_FREE: Final = re.compile(r"(?:^|\s)init_on_free=(\S+)")
_TRUE: Final = ("1", "y", "Y", "on")


def kernel() -> Kernel:
    """What Linux can do."""
    return Kernel(
        release=platform.release(),
        fuse_known="\tfuse\n" in (text("/proc/filesystems") or ""),
        device=_device(),
        trial=trial.fuse_trial(),
        peer_pidfd_error=_peer_pidfd_error(),
        landlock_abi=_landlock_abi(),
        seccomp=seccomp.available(),
        namespace_error=trial.namespace_error(),
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_clone=_number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    )


def host() -> Host:
    """How it is set up."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    root, proc = _mount_line("/"), _mount_line("/proc")
    return Host(
        uid=os.geteuid(),
        can_lock=_has_capability(_CAP_IPC_LOCK),
        memlock_bytes=None if soft == resource.RLIM_INFINITY else soft,
        swaps=swaps(text("/proc/swaps")),
        init_on_free=init_on_free(text("/proc/cmdline"), _kernel_config()),
        suid_dumpable=_number("/proc/sys/fs/suid_dumpable"),
        core_pattern=_stripped("/proc/sys/kernel/core_pattern"),
        ptrace_scope=_number("/proc/sys/kernel/yama/ptrace_scope"),
        root_shared=None if root is None else " shared:" in root,
        hidepid=option(proc or "", "hidepid") or "0",
        hidepid_gid=option(proc or "", "gid") is not None,
        now=time.time(),
    )


def users() -> tuple[User, ...]:
    """Who fs and control run as."""
    return tuple(User(role, ids().uid, _taken_by(ids().uid, name)) for role, name, ids in _ROLES)


def engines(listening: frozenset[str]) -> tuple[Engine, ...]:
    """Docker and Podman; ``listening``: paths of unix sockets."""
    return tuple(
        Engine(name, _version_of(name), path, path in listening or path.removeprefix("/var") in listening)
        for name, path in _ENGINES
    )


def listening_sockets() -> frozenset[str] | None:
    """Paths on which somebody listens, in this network namespace; nobody is connected to for that."""
    table = text("/proc/net/unix")
    return None if table is None else listening(table)


def listening(table: str) -> frozenset[str]:
    """The same of such a table, see proc_pid_net(5): flags 00010000 are SO_ACCEPTCON."""
    lines = [line.split(maxsplit=7) for line in table.splitlines()[1:]]
    return frozenset(fields[7] for fields in lines if len(fields) == 8 and int(fields[3], 16) & 0x10000)


def swaps(table: str | None) -> tuple[Swap, ...] | None:
    """Of /proc/swaps."""
    if table is None:
        return None
    names = [line.split()[0] for line in table.splitlines()[1:] if line.strip()]
    return tuple(Swap(name, "/zram" in name, _encrypted(name)) for name in names)


def init_on_free(command_line: str | None, config: str | None) -> bool | None:
    """Whether the kernel overwrites what it frees: its command line decides, else how it was built."""
    if command_line is None:
        return None
    said = _INIT_ON_FREE.findall(command_line)
    if said:
        return said[-1] in _TRUE
    return None if config is None else "\nCONFIG_INIT_ON_FREE_DEFAULT_ON=y\n" in config


def option(line: str, name: str) -> str | None:
    """An option of a mount, from its line in mountinfo."""
    words = line.rpartition(" - ")[2].split(" ")[-1].split(",")
    return next((word.partition("=")[2] for word in words if word.partition("=")[0] == name), None)


def text(path: str) -> str | None:
    """A small file's content."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(_MAX_TEXT))
    except OSError:
        return None


def _stripped(path: str) -> str | None:
    found = text(path)
    return None if found is None else found.strip()


def _number(path: str) -> int | None:
    found = _stripped(path)
    return int(found) if found is not None and re.fullmatch("-?[0-9]+", found) else None


def _device() -> Device:
    """A directory or a file in the device's place does not open for writing, or is seen by the trial."""
    try:
        mode = os.stat(_DEVICE).st_mode & 0o7777
    except OSError as exc:
        return Device(exc.errno or errno.EIO, None)
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as exc:
        return Device(exc.errno or errno.EIO, mode)
    return Device(0, mode)


def _peer_pidfd_error() -> int:
    one, other = socket.socketpair()
    with one, other:
        try:
            os.close(peer.pidfd(one))
        except OSError as exc:
            return exc.errno or errno.EIO
    return 0


def _landlock_abi() -> int:
    try:
        return landlock.abi()
    except OSError:  # a seccomp filter refuses the question
        return 0


def _has_capability(number: int) -> bool:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", text("/proc/self/status") or "", re.MULTILINE)
    return bool(found and int(found[1], 16) >> number & 1)


def _encrypted(name: str) -> bool:
    """Whether it is a mapped device of dm-crypt."""
    device = os.path.basename(os.path.realpath(name))
    return (text(f"/sys/block/{device}/dm/uuid") or "").startswith("CRYPT-")


def _kernel_config() -> str | None:
    try:
        packed = Path("/proc/config.gz").read_bytes()
        return zlib.decompress(packed, wbits=31).decode("ascii", "replace")
    except (OSError, zlib.error):
        return text(f"/boot/config-{platform.release()}")


def _mount_line(path: str) -> str | None:
    """The line of the topmost mount on a path, see proc_pid_mountinfo(5)."""
    lines = (text("/proc/self/mountinfo") or "").splitlines()
    return next((line for line in reversed(lines) if line.split(" ")[4] == path), None)


def _taken_by(uid: int, name: str) -> str | None:
    try:
        found = pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
    return None if found == name else found


def _version_of(program: str) -> str | None:
    """What its client says of itself; empty when it says nothing in time. Podman is not asked: it makes directories."""
    path = shutil.which(program)
    if path is None or program == "podman":
        return path
    try:
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").partition("\n")[0].strip()


def group_members(name: str) -> tuple[tuple[str, ...] | None, int]:
    """Who is in the group, by its entry or as their first group, and its number; None, 0 when there is none."""
    try:
        group = grp.getgrnam(name)
    except KeyError:
        return None, 0
    first = [user.pw_name for user in pwd.getpwall() if user.pw_gid == group.gr_gid]
    return tuple(sorted({*group.gr_mem, *first})), group.gr_gid
