"""fs that kills itself inside the kernel notification that the test has armed (faults.py)."""

import mmap
import os
import random
import signal
import sys
import threading
import time

import pyfuse3

KINDS = ("notify_store", "invalidate_inode", "invalidate_entry")
MICROSECONDS = 150  # a notification takes some tens

memory = mmap.mmap(int(os.environ["SECRETFS_TEST_FAULTS"]), mmap.PAGESIZE)


def killed_inside(kind: str):
    real, code = getattr(pyfuse3, kind), KINDS.index(kind) + 1

    def call(*args, **kwargs):
        if memory[0] == code:
            memory[0] = 0
            memory[1] = (memory[1] + 1) % 256
            threading.Thread(target=kill_soon, daemon=True).start()
        return real(*args, **kwargs)

    return call


def kill_soon() -> None:
    until = time.perf_counter() + random.random() * MICROSECONDS / 1e6
    while time.perf_counter() < until:
        pass
    os.kill(os.getpid(), signal.SIGKILL)


for name in KINDS:
    setattr(pyfuse3, name, killed_inside(name))

sys.argv = ["fs", *sys.argv[3:]]
from secretfs.fs.main import main  # noqa: E402 - after the patches

sys.exit(main())
