"""fs that comes to grief as the test has armed it (faults.py)."""

import errno
import mmap
import os
import random
import signal
import sys
import threading
import time

import pyfuse3

sys.path.insert(0, os.path.dirname(__file__))
from faults import ARMED, BROKEN, CRASH, FIRED, KINDS, OLD_KERNEL, POISON, TRAP, VICTIM, VICTIM_AT

sys.path.pop(0)

from secretfs.fs.links import SupervisorLink
from secretfs.fs.opens import Opens
from secretfs.link import pulse
from secretfs.linux import fuse

MICROSECONDS = 150  # a notification takes some tens

memory = mmap.mmap(int(os.environ["SECRETFS_TEST_FAULTS"]), mmap.PAGESIZE)


def fires() -> None:
    memory[FIRED] = (memory[FIRED] + 1) % 256


def killed_inside(kind: str):
    real, code = getattr(pyfuse3, kind), KINDS.index(kind) + 1

    def call(*args, **kwargs):
        if memory[ARMED] == code:
            memory[ARMED] = 0
            fires()
            threading.Thread(target=kill_soon, daemon=True).start()
        return real(*args, **kwargs)

    return call


def kill_soon() -> None:
    until = time.perf_counter() + random.random() * MICROSECONDS / 1e6
    while time.perf_counter() < until:
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def record(self, subject, thread, uid, gid):
    if (memory[ARMED], thread) == (POISON, VICTIM.unpack_from(memory, VICTIM_AT)[0]):
        fires()
        os.kill(os.getpid(), signal.SIGKILL)
    if (memory[ARMED], thread) == (TRAP, VICTIM.unpack_from(memory, VICTIM_AT)[0]):
        fires()
        signal.pause()
    return real_record(self, subject, thread, uid, gid)


def send(self, frame):
    real_send(self, frame)
    if memory[ARMED] == CRASH and isinstance(frame, pulse.Ready):
        fires()
        os._exit(1)


def resend(fd):
    if memory[OLD_KERNEL]:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    real_resend(fd)


for name in KINDS:
    setattr(pyfuse3, name, killed_inside(name))
real_record, Opens.record = Opens.record, record
real_send, SupervisorLink.send = SupervisorLink.send, send
real_resend, fuse.resend = fuse.resend, resend
if memory[ARMED] == BROKEN:
    fires()
    sys.exit(1)

sys.argv = ["fs", *sys.argv[3:]]
from secretfs.fs.main import main  # noqa: E402 - after the patches

sys.exit(main())
