"""fs whose notifications of pages each say in the log that they are about to go, and wait for a byte of a FIFO.

``stepped_fs.py -m secretfs.fs ARGUMENTS...``, see scripted_supervisor.py.
"""

import os
import sys

import pyfuse3

from secretfs.fs import log

gate = int(os.environ["SECRETFS_TEST_GATE"])


def stepped(kind: str):
    real = getattr(pyfuse3, kind)

    def call(*args, **kwargs):
        log.info("about to", act=kind)
        os.read(gate, 1)
        return real(*args, **kwargs)

    return call


for name in ("notify_store", "invalidate_inode"):
    setattr(pyfuse3, name, stepped(name))

sys.argv = ["fs", *sys.argv[3:]]
from secretfs.fs.main import main  # noqa: E402 - after the patches

sys.exit(main())
