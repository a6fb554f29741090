import errno
from dataclasses import replace

import pytest
from made_up import HEALTHY, HOST, SOCKETS, arena, daemon, facts, host, idle, kernel, running

from secretfs.doctor.checkup import CHECKS, verdicts
from secretfs.doctor.facts import (
    Answer,
    Device,
    Directory,
    Engine,
    Key,
    Mountpoint,
    MountState,
    Process,
    Said,
    Socket,
    Step,
    Store,
    Swap,
    Trial,
    User,
)
from secretfs.doctor.verdict import Level


def user(changed, **of_kernel):
    """The same facts, seen by an ordinary user."""
    return replace(changed, host=replace(HOST, uid=1000), kernel=replace(changed.kernel, **of_kernel))


CASES = [
    ("fuse device", "fail", kernel(device=Device(errno.ENOENT, None), fuse_known=False), "modprobe fuse"),
    ("fuse device", "fail", kernel(device=Device(errno.ENOENT, None)), "mknod"),
    ("fuse device", "fail", kernel(device=Device(errno.EPERM, 0o666)), "--device /dev/fuse"),
    ("fuse device", "warn", user(kernel(device=Device(errno.EACCES, 0o600))), "chmod 0666 /dev/fuse"),
    ("fuse mount", "fail", kernel(trial=Trial(Step.NAMESPACE, errno.EPERM)), "SYS_ADMIN"),
    ("fuse mount", "fail", kernel(trial=Trial(Step.DEVICE, errno.ENODEV)), "fuse device"),
    ("fuse mount", "warn", user(HEALTHY, trial=Trial(Step.DEVICE, errno.EACCES)), "fuse device"),
    ("fuse mount", "warn", user(HEALTHY, trial=Trial(Step.NAMESPACE, errno.EPERM)), "user namespaces"),
    ("fuse mount", "fail", kernel(trial=Trial(Step.MOUNT, errno.EPERM)), "SYS_ADMIN"),
    ("fuse mount", "fail", kernel(trial=Trial(Step.INIT, errno.EAGAIN)), "SYS_ADMIN"),
    ("fuse mount", "fail", kernel(trial=Trial(Step.SILENT, errno.ETIMEDOUT)), "dmesg"),
    ("fuse mount", "ok", kernel(trial=Trial(Step.RESEND, errno.EINVAL)), ""),
    ("fuse resend", "warn", kernel(trial=Trial(Step.RESEND, errno.EINVAL), release="6.9.0"), "6.9 or later"),
    ("fuse resend", "warn", kernel(trial=Trial(Step.MOUNT, errno.EPERM), release="6.8.12-amd64"), "6.9 or later"),
    ("fuse resend", "warn", kernel(trial=Trial(Step.MOUNT, errno.EPERM), release="plan9"), "6.9 or later"),
    ("fuse resend", "ok", kernel(trial=Trial(Step.MOUNT, errno.EPERM), release="7.0-rc1"), ""),
    ("peer pidfd", "fail", kernel(peer_pidfd_error=errno.ENOPROTOOPT), "6.5 or later"),
    ("landlock", "warn", kernel(landlock_abi=0), "lsm="),
    ("landlock", "warn", kernel(landlock_abi=5), "6.12"),
    ("landlock", "ok", kernel(landlock_abi=7), ""),
    ("seccomp", "warn", kernel(seccomp=False), "CONFIG_SECCOMP_FILTER"),
    ("user namespaces", "warn", kernel(namespace_error=None), "sudo"),
    ("user namespaces", "warn", kernel(namespace_error=errno.ENOSPC, max_user_namespaces=0), "max_user_namespaces"),
    ("user namespaces", "warn", kernel(namespace_error=errno.EPERM, unprivileged_clone=0), "unprivileged_userns_clone"),
    ("user namespaces", "warn", kernel(namespace_error=errno.EACCES, apparmor_restricts=1), "apparmor"),
    ("user namespaces", "warn", kernel(namespace_error=errno.EPERM), "seccomp"),
    ("memory lock", "ok", host(can_lock=False, memlock_bytes=None), ""),
    ("memory lock", "warn", host(can_lock=False), "LimitMEMLOCK"),
    ("memory lock", "fail", host(can_lock=False, memlock_bytes=64 << 10), "LimitMEMLOCK"),
    ("swap", "warn", host(swaps=None), "sudo"),
    ("swap", "ok", host(swaps=(Swap("/dev/zram0", True, False), Swap("/dev/dm-1", False, True))), ""),
    ("swap", "warn", host(swaps=(Swap("/dev/sda2", False, False),)), "swapoff"),
    ("init_on_free", "warn", host(init_on_free=False), "init_on_free=1"),
    ("init_on_free", "warn", host(init_on_free=None), "init_on_free=1"),
    ("core dumps", "warn", host(suid_dumpable=1), "fs.suid_dumpable=0"),
    ("core dumps", "warn", host(core_pattern="|/lib/systemd/systemd-coredump %P"), "Storage=none"),
    ("core dumps", "ok", host(core_pattern="|/bin/false"), ""),
    ("core dumps", "warn", host(core_pattern=None), "sudo"),
    ("ptrace scope", "warn", host(ptrace_scope=None), "yama"),
    ("ptrace scope", "warn", host(ptrace_scope=0), "ptrace_scope=1"),
    ("hidepid", "fail", host(hidepid="2"), "remount"),
    ("hidepid", "warn", host(hidepid="invisible", hidepid_gid=True), "group"),
    ("hidepid", "ok", host(hidepid="off"), ""),
    ("mount propagation", "warn", host(root_shared=False), "make-rshared"),
    ("mount propagation", "warn", host(root_shared=None), "sudo"),
    ("users", "fail", facts(users=(User("fs", 0, None), User("control", 9, None))), "system users"),
    ("users", "fail", facts(users=(User("fs", 8, "eve"), User("control", 9, None))), "system users"),
    ("users", "fail", facts(users=(User("fs", 9, None), User("control", 9, None))), "different uids"),
    ("clock", "warn", host(now=1e8), "set it"),
    ("clock", "warn", daemon(store=Store(1, 1 << 20, 1.9e9)), "set it"),
    ("docker", "warn", facts(engines=(Engine("docker", "", "/d", False),)), "docker"),
    ("docker", "ok", facts(engines=()), ""),
    ("daemon", "warn", idle(), "secretfs daemon"),
    ("daemon", "fail", daemon(said=Said(silence="no answer for 5 s")), "--takeover"),
    ("daemon", "warn", daemon(said=Said(silence="permission denied", closed=True)), "sudo secretfs doctor"),
    ("daemon", "warn", daemon(said=Said("0.1.0", locked=True)), "secretfs swarm unlock"),
    ("version", "warn", daemon(said=Said("0.0.9")), "kill -HUP 7"),
    ("version", "warn", daemon(said=Said("0.0.9"), running=None), "SIGHUP"),
    ("version", "warn", running(older_than_files=True), "kill -HUP 7"),
    ("arena", "ok", idle(), ""),
    ("arena", "warn", running(arena=None), "sudo"),
    ("arena", "fail", arena(loose_bytes=4096), "CAP_IPC_LOCK"),
    ("arena", "fail", arena(swapped_bytes=4096), "CAP_IPC_LOCK"),
    ("arena", "warn", user(arena(may_lock_bytes=8 << 20)), "--arena-max"),
    ("mounts", "fail", facts(mounts=(MountState("0:1", "/r/mnt", 7, Answer.OVER, ours=True),)), "umount --lazy"),
    ("mounts", "fail", facts(mounts=(MountState("0:1", "/r/mnt", 7, Answer.OVER, ours=None),)), "umount --lazy"),
    ("mounts", "warn", facts(mounts=(MountState("0:1", "/r/mnt", 7, Answer.OVER, ours=False),)), "another daemon"),
    ("mounts", "fail", facts(mounts=(MountState("0:1", "/r/mnt", 7, Answer.SILENT, ours=False),)), "abort"),
    ("mounts", "warn", user(facts(unseen_namespaces=3)), "sudo"),
    ("mounts", "ok", facts(unseen_namespaces=3), ""),
    ("mounts", "ok", facts(mounts=()), ""),
    ("processes", "warn", daemon(processes=(Process(8, "fs", False),)), "30 s"),
    ("processes", "warn", daemon(processes=(Process(8, "fs", None),)), "sudo"),
    ("sockets", "warn", daemon(sockets=None), "sudo"),
    ("sockets", "warn", idle(sockets=(Socket("api.sock", False, 0o660),)), "start it again"),
    ("sockets", "fail", daemon(sockets=(Socket("api.sock", False, None), *SOCKETS[1:])), "restart"),
    ("sockets", "fail", daemon(sockets=(Socket("api.sock", False, 0o660), *SOCKETS[1:])), "restart"),
    ("sockets", "ok", idle(sockets=(Socket("api.sock", False, None),)), ""),
    ("api access", "fail", daemon(sockets=(Socket("api.sock", True, 0o666),)), "chmod 0660 /r/api.sock"),
    ("api access", "warn", daemon(sockets=(Socket("api.sock", True, 0o660, 0, 100),)), "group secretfs"),
    ("api access", "warn", daemon(api_members=("ann",)), "root"),
    ("api access", "ok", daemon(api_members=None), ""),
    ("runtime directory", "fail", daemon(runtime=Directory("/r", 0o777)), "chmod go-w /r"),
    ("runtime directory", "ok", idle(runtime=Directory("/r", None)), ""),
    ("mountpoint", "fail", idle(mountpoint=Mountpoint("/r/mnt", False, 2)), "--mountpoint"),
    ("mountpoint", "warn", idle(mountpoint=Mountpoint("/r/mnt", False, None)), "sudo"),
    ("state directory", "warn", daemon(state=None), "sudo"),
    ("state directory", "ok", idle(state=Directory("/s", None)), ""),
    ("state directory", "fail", daemon(state=Directory("/s", 0o750, 75302)), "chmod 0700 /s"),
    ("state directory", "fail", daemon(state=Directory("/s", 0o700, 1001)), "chown root /s"),
    ("disk", "warn", daemon(state=Directory("/s", 0o700, 75302, 1 << 20)), "make room"),
    ("disk", "warn", daemon(store=Store(1 << 20, None)), "anew"),
    ("disk", "warn", daemon(store=None), "sudo"),
    ("disk", "ok", idle(state=Directory("/s", None), store=Store(None, None)), ""),
    ("root key", "warn", daemon(key=None), "sudo"),
    ("root key", "ok", daemon(key=Key("credential:k", None)), ""),
    ("root key", "fail", daemon(key=Key("file:/k", "/k")), "backup"),
    ("root key", "warn", daemon(key=Key("file:/k", "/k"), store=None), "sudo"),
    ("root key", "ok", idle(key=Key("file:/k", "/k"), store=Store(None, None)), ""),
    ("root key", "fail", daemon(key=Key("file:/k", "/k", 0o640)), "chmod 0600 /k"),
    ("root key", "fail", daemon(key=Key("file:/k", "/k", 0o600, 1001)), "chown root /k"),
    ("root key", "warn", daemon(key=Key("file:/s/k", "/s/k", 0o600)), "--root-key"),
]


@pytest.mark.parametrize(("check", "result", "changed", "todo"), CASES)
def test_each_trouble_is_told_with_what_to_do(check, result, changed, todo):
    (verdict,) = [each for each in verdicts(changed) if each.check == check]
    assert verdict.level.value == result
    assert todo in verdict.todo
    assert bool(verdict.todo) is (result != "ok")


def test_a_host_where_all_is_well_has_nothing_to_do():
    assert [each for each in verdicts(HEALTHY) if each.level is not Level.OK or each.todo] == []


def test_every_check_has_a_name_of_its_own_and_a_case_in_the_table():
    names = [each.check for each in verdicts(HEALTHY)]
    assert len(set(names)) == len(CHECKS)
    assert set(names) - {check for check, *_ in CASES} == {"podman"}  # judged as docker is


def test_no_daemon_is_no_failure():
    nothing = idle(
        sockets=(Socket("api.sock", False, None),),
        runtime=Directory("/r", None),
        mountpoint=Mountpoint("/r/mnt", False, 0),
        state=Directory("/s", None),
        store=Store(None, None),
        key=Key("file:/k", "/k"),
    )
    assert [each.check for each in verdicts(nothing) if each.level is not Level.OK] == ["daemon"]
