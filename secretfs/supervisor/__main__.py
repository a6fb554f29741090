"""``python -m secretfs.supervisor``: started by ``secretfs daemon``, in place."""

import os
import sys

from secretfs.supervisor.main import main

code = main()
sys.stderr.flush()
os._exit(code)  # a broker's thread may wait for a mount that has no fs any more: nothing waits for it
