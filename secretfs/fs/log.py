"""What fs says on stderr (linux/logline.py)."""

from typing import Final

from secretfs.linux.logline import Log

_LOG: Final = Log("fs")
info, warning, error = _LOG.info, _LOG.warning, _LOG.error
