"""Networks, which are nothing but records."""

from typing import Final

from secretfs.control.records.lookup import Noun
from secretfs.core.network import Network

NETWORKS: Final = Noun("network", Network)
