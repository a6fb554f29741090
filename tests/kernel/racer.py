"""Looks names up, opens, reads and maps files that come and go meanwhile, until SIGTERM. Arguments: a directory, names.

A page that cannot be had is EFAULT here and not SIGBUS: it is the kernel that touches it, for a write to a pipe.
"""

import contextlib
import errno
import json
import mmap
import os
import signal
import sys

GONE = (errno.ENOENT, errno.EACCES, errno.ESTALE, errno.EFAULT)
PAGE = 4096


def looked_up(path: str) -> None:
    os.stat(path)


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read()


def mapped(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size  # asked for by mmap.mmap, a refusal would be taken for a size of 0
        with mmap.mmap(fd, size, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as memory, memoryview(memory) as view:
            for at in range(0, len(view), PAGE):
                with view[at : at + 8] as touched:
                    os.write(writing, touched)
                os.read(reading, 8)
    finally:
        os.close(fd)


def listed(path: str) -> None:
    os.listdir(os.path.dirname(path))


ACTS = (looked_up, read, mapped, listed)
stopped: list[int] = []
signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
reading, writing = os.pipe2(os.O_NONBLOCK)
directory, *names = sys.argv[1:]
done = dict.fromkeys((act.__name__ for act in ACTS), 0)
unexpected: list[str] = []
sys.stdout.write("racing\n")
sys.stdout.flush()
while not stopped:
    for name in names:
        for act in ACTS:
            try:
                act(f"{directory}/{name}")
            except OSError as refusal:
                if refusal.errno not in GONE:
                    unexpected.append(f"{act.__name__}: {refusal}")
            done[act.__name__] += 1
with contextlib.suppress(BrokenPipeError):
    sys.stdout.write(json.dumps({"done": done, "unexpected": unexpected[:5]}) + "\n")
