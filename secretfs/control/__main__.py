"""``python -m secretfs.control``: started by the supervisor."""

import sys

from secretfs.control.main import main

sys.exit(main())
