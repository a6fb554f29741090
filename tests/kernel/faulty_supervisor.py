"""``secretfs daemon`` whose fs comes to grief when the test arms it, and whose kernel may be an old one.

First argument: the file of faults.py; then the options of ``secretfs daemon``.
"""

import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from faults import OLD_KERNEL, STUCK_SECONDS

from secretfs.cli import daemon
from secretfs.cli.main import main
from secretfs.linux import fuse
from secretfs.supervisor import child
from secretfs.supervisor import main as supervisor

FAULTY_FS = str(Path(__file__).with_name("faulty_fs.py"))
faults = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(faults, mmap.PAGESIZE)


def started(command, *, pass_fds, env, **options):
    if "secretfs.fs" in command:
        at = command.index("-m")
        command = [*command[:at], FAULTY_FS, "-m", "secretfs.fs", *command[at + 2 :]]
        env = {**env, "SECRETFS_TEST_FAULTS": str(faults)}
        pass_fds = [*pass_fds, faults]
    return subprocess.Popen(command, pass_fds=pass_fds, env=env, **options)


def run_here(_program, words):
    sys.argv = ["supervisor", *words[4:]]
    code = supervisor.main()
    sys.stderr.flush()
    os._exit(code)


def resend(fd):
    if memory[OLD_KERNEL]:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    real_resend(fd)


real_resend, fuse.resend = fuse.resend, resend
if memory[STUCK_SECONDS]:
    supervisor.STUCK_SECONDS = memory[STUCK_SECONDS]
child.subprocess = SimpleNamespace(Popen=started, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
daemon.os = SimpleNamespace(execv=run_here, geteuid=os.geteuid, path=os.path, sched_getaffinity=os.sched_getaffinity)
sys.exit(main(["daemon", *sys.argv[2:]]))
