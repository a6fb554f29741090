"""``secretfs daemon`` in which scripts of the test take the place of fs or control.

First argument: which (JSON, by module); second: a FIFO, whose descriptor they find in $SECRETFS_TEST_GATE, or nothing.
Then the options of ``secretfs daemon``. A script gets ``-m MODULE ARGUMENTS...``.
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

from secretfs.cli import daemon
from secretfs.cli.main import main
from secretfs.supervisor import child
from secretfs.supervisor.main import main as supervise

scripts = json.loads(sys.argv[1])
gate = os.open(sys.argv[2] or "/dev/null", os.O_RDWR)


def started(command, *, pass_fds, env, **options):
    at = command.index("-m")
    if script := scripts.get(command[at + 1]):
        command = [*command[:at], script, *command[at:]]
        env = {**env, "SECRETFS_TEST_GATE": str(gate)}
        pass_fds = [*pass_fds, gate]
    return subprocess.Popen(command, pass_fds=pass_fds, env=env, **options)


def run_here(_program, words):
    sys.argv = ["supervisor", *words[4:]]
    code = supervise()
    sys.stderr.flush()
    os._exit(code)


child.subprocess = SimpleNamespace(Popen=started, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
daemon.os = SimpleNamespace(execv=run_here, geteuid=os.geteuid, path=os.path, sched_getaffinity=os.sched_getaffinity)
sys.exit(main(["daemon", *sys.argv[3:]]))
