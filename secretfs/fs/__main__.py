"""``python -m secretfs.fs``: started by the supervisor."""

import sys

from secretfs.fs.main import main

sys.exit(main())
