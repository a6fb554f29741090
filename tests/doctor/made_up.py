"""The facts of a host on which all is well, to be changed by one thing at a time."""

from dataclasses import replace

from secretfs.doctor.facts import (
    Answer,
    Arena,
    Daemon,
    Device,
    Directory,
    Engine,
    Facts,
    Host,
    Kernel,
    Key,
    Mountpoint,
    MountState,
    Process,
    Running,
    Said,
    Socket,
    Step,
    Store,
    Trial,
    User,
)
from secretfs.link.spawn import SupervisorStart

START = SupervisorStart("/s", "/r", "/r/mnt", "file:/k/root.key", 256 << 20, 50)
KERNEL = Kernel("6.9.1", True, Device(0, 0o666), Trial(Step.DONE, 0), 0, 6, True, 0, 1000, None, None)
HOST = Host(0, True, 8 << 20, (), True, 0, "core", 1, True, "0", False, 1.8e9)
ARENA = Arena(1 << 20, 0, 0, 8 << 20, 256 << 20)
RUNNING = Running(7, START, False, ARENA)
SOCKETS = (
    Socket("api.sock", True, 0o660, 0, 5),
    Socket("attach.sock", True, 0o600),
    Socket("handover.sock", True, 0o600),
)
DAEMON = Daemon(
    running=RUNNING,
    said=Said("0.1.0"),
    installed="0.1.0",
    processes=(Process(7, "supervisor", True), Process(8, "fs", True), Process(9, "control", True)),
    sockets=SOCKETS,
    api_members=(),
    api_gid=5,
    runtime=Directory("/r", 0o755),
    mountpoint=Mountpoint("/r/mnt", True, 0),
    state=Directory("/s", 0o700, 75302, 1 << 40),
    store=Store(1 << 20, 1 << 20, 1.7e9),
    key=Key("file:/k/root.key", "/k/root.key", 0o600, 0, 45),
)
IDLE = {"running": None, "said": Said(silence="no such file"), "processes": ()}
HEALTHY = Facts(
    kernel=KERNEL,
    host=HOST,
    users=(User("fs", 75301, None), User("control", 75302, None)),
    engines=(Engine("docker", "Docker version 28", "/d", True), Engine("podman", None, "/p", False)),
    mounts=(MountState("0:40", "/r/mnt", 7, Answer.LIVES, ours=True),),
    unseen_namespaces=0,
    daemon=DAEMON,
)


def kernel(**changes) -> Facts:
    return replace(HEALTHY, kernel=replace(KERNEL, **changes))


def host(**changes) -> Facts:
    return replace(HEALTHY, host=replace(HOST, **changes))


def daemon(**changes) -> Facts:
    return replace(HEALTHY, daemon=replace(DAEMON, **changes))


def idle(**changes) -> Facts:
    """Without a daemon."""
    return daemon(**IDLE | changes)


def running(**changes) -> Facts:
    return daemon(running=replace(RUNNING, **changes))


def arena(**changes) -> Facts:
    return running(arena=replace(ARENA, **changes))


def facts(**changes) -> Facts:
    return replace(HEALTHY, **changes)
