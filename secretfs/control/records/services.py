"""Services. The revision of the record is Docker's Version.Index."""

from typing import Final

from secretfs.control.records.lookup import Noun
from secretfs.core.service import Service

SERVICES: Final = Noun("service", Service)
