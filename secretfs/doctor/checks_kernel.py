"""What secretfs needs of Linux."""

import errno
import os

from secretfs.doctor.facts import Facts, Kernel, Step
from secretfs.doctor.verdict import Verdict, fail, ok, unseen, warn

_ABI_SCOPES = 6  # of landlock, Linux 6.12: abstract sockets and signals
_ADMIN = "run it on the host, or give the container --device /dev/fuse --cap-add SYS_ADMIN"


def fuse_device(facts: Facts) -> Verdict:
    """/dev/fuse can be opened."""
    name, device = "fuse device", facts.kernel.device
    if device.error == 0:
        return ok(name, "/dev/fuse can be opened")
    if not facts.kernel.fuse_known:
        return fail(name, "the kernel has no fuse: the module is not loaded", "run: modprobe fuse")
    if device.mode is None:
        todo = "run: mknod -m 666 /dev/fuse c 10 229; in a container: --device /dev/fuse"
        return fail(name, "/dev/fuse does not exist", todo)
    if device.error in (errno.EACCES, errno.EPERM) and facts.host.uid:
        todo = "only for daemon --rootless: chmod 0666 /dev/fuse, and a udev rule to keep it so"
        return warn(name, f"/dev/fuse is closed to uid {facts.host.uid} (mode {device.mode:04o})", todo)
    return fail(name, f"/dev/fuse cannot be opened: {os.strerror(device.error)}", _ADMIN)


def fuse_mount(facts: Facts) -> Verdict:
    """A FUSE file system was mounted for a moment, in a namespace of its own."""
    name, trial = "fuse mount", facts.kernel.trial
    why = os.strerror(trial.error)
    rootless = facts.host.uid != 0
    match trial.step:
        case Step.RESEND | Step.DONE:
            return ok(name, "a trial mount works")
        case Step.DEVICE:
            judge = warn if rootless else fail
            return judge(name, f"no trial mount: /dev/fuse: {why}", "see: fuse device")
        case Step.NAMESPACE if rootless:
            return warn(name, f"no trial mount: user namespace: {why}", "see: user namespaces")
        case Step.SILENT:
            return fail(name, "a trial mount does not come to an end", "look at the kernel's log: dmesg")
        case _:
            return fail(name, f"a trial mount fails ({trial.step.value}): {why}", _ADMIN)


def resend(facts: Facts) -> Verdict:
    """FUSE_NOTIFY_RESEND was asked for on the trial mount; only without one the version has to do."""
    name, kernel = "fuse resend", facts.kernel
    todo = "use Linux 6.9 or later: before, tasks see errors for about a second when fs dies or is upgraded"
    if kernel.trial.step is Step.DONE:
        return ok(name, f"Linux {kernel.release} sends again what a killed fs did not answer")
    if kernel.trial.step is Step.RESEND and kernel.trial.error == errno.EINVAL:
        return warn(name, f"Linux {kernel.release} has no FUSE_NOTIFY_RESEND", todo)
    if _version(kernel) < (6, 9):
        return warn(name, f"Linux {kernel.release} is older than 6.9, and could not be tried", todo)
    return ok(name, f"Linux {kernel.release} should have it (6.9); it could not be tried")


def peer_pidfd(facts: Facts) -> Verdict:
    """SO_PEERPIDFD, by which a task is told from whoever gets its pid."""
    error = facts.kernel.peer_pidfd_error
    if error == 0:
        return ok("peer pidfd", "SO_PEERPIDFD works")
    return fail("peer pidfd", f"no SO_PEERPIDFD: {os.strerror(error)}", "use Linux 6.5 or later: run needs it")


def landlock(facts: Facts) -> Verdict:
    """It closes the file system to fs and to control, beside their uids and their lack of capabilities."""
    abi = facts.kernel.landlock_abi
    if abi >= _ABI_SCOPES:
        return ok("landlock", f"ABI {abi}: what is not theirs is closed to fs and control")
    if abi:
        found = f"ABI {abi}: files are closed to fs and control, abstract sockets of other programs are not"
        return warn("landlock", found, "use Linux 6.12 or later")
    found = "this kernel has none, or it is switched off: fs and control are confined by their uids and filters alone"
    return warn("landlock", found, "boot with landlock in lsm=, see /sys/kernel/security/lsm")


def seccomp(facts: Facts) -> Verdict:
    """It leaves fs no system call by which it could open, connect to, execute or become anything."""
    if facts.kernel.seccomp:
        return ok("seccomp", "fs and control have their filters")
    found = "no filter of system calls: this kernel has none, or this machine is neither x86_64 nor aarch64"
    return warn("seccomp", found, "use a kernel with CONFIG_SECCOMP_FILTER: fs and control have landlock alone")


def user_namespaces(facts: Facts) -> Verdict:
    """Ordinary users need them, for secretfs run and for a daemon of their own."""
    name, kernel = "user namespaces", facts.kernel
    if kernel.namespace_error == 0:
        return ok(name, "ordinary users may make them")
    if kernel.namespace_error is None:
        return unseen(name, "a user namespace of an ordinary user")
    needed = "ordinary users cannot use secretfs run, nor daemon --rootless"
    why = os.strerror(kernel.namespace_error)
    if kernel.max_user_namespaces == 0:
        return warn(name, f"there may be none: {needed}", "run: sysctl user.max_user_namespaces=15000")
    if kernel.unprivileged_clone == 0:
        return warn(name, f"not for ordinary users: {needed}", "run: sysctl kernel.unprivileged_userns_clone=1")
    if kernel.apparmor_restricts:
        todo = "run: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give secretfs an AppArmor profile"
        return warn(name, f"AppArmor forbids them: {needed}", todo)
    return warn(name, f"refused ({why}): {needed}", "look for what refuses unshare(CLONE_NEWUSER): seccomp, an LSM")


def _version(kernel: Kernel) -> tuple[int, int]:
    """Major and minor of a release; nothing readable is 0.0."""
    numbers = [part for part in kernel.release.replace("-", ".").split(".")[:2] if part.isdecimal()]
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else (0, 0)
