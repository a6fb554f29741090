"""``secretfs daemon`` whose fs kills itself inside kernel notifications, when the test arms it.

First argument: the file of faults.py; then the options of ``secretfs daemon``. $SECRETFS_TEST_SCRIPTS (JSON, by module)
names other scripts that take the place of fs or control.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from secretfs.cli import daemon
from secretfs.cli.main import main
from secretfs.supervisor import child
from secretfs.supervisor.main import main as supervise

FAULTY_FS = str(Path(__file__).with_name("faulty_fs.py"))
SCRIPTS = json.loads(os.environ.get("SECRETFS_TEST_SCRIPTS", "{}")) or {"secretfs.fs": FAULTY_FS}
faults = os.open(sys.argv[1], os.O_RDWR)


def started(command, *, pass_fds, env, **options):
    at = command.index("-m")
    if script := SCRIPTS.get(command[at + 1]):
        command = [*command[:at], script, *command[at:]]
        env = {**env, "SECRETFS_TEST_FAULTS": str(faults)}
        pass_fds = [*pass_fds, faults]
    return subprocess.Popen(command, pass_fds=pass_fds, env=env, **options)


def run_here(_program, words):
    sys.argv = ["supervisor", *words[4:]]
    code = supervise()
    sys.stderr.flush()
    os._exit(code)


child.subprocess = SimpleNamespace(Popen=started, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
daemon.os = SimpleNamespace(execv=run_here, geteuid=os.geteuid, path=os.path, sched_getaffinity=os.sched_getaffinity)
sys.exit(main(["daemon", *sys.argv[2:]]))
