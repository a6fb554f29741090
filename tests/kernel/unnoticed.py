"""Readers of a secret that stays what it is, while something happens to the daemon that they must not notice."""

import os
import sys
import time

from daemons import report_of

STEADY = os.urandom(3000)
READERS = 4  # they take all of two processors, and there is always somebody who waits for an answer
LATE_SECONDS = 30  # where an update says that it did not wait for all tasks


def prepared(daemon, count: int = READERS) -> list:
    """A service with one secret, and readers of it; a second secret, that may be granted and revoked meanwhile."""
    daemon.secret("steady", STEADY)
    daemon.secret("other", os.urandom(5000))
    daemon.cli("service", "create", "--secret", "steady", "web")
    return daemon.readers(count, "web", {"steady": [STEADY]})


def nothing_was_noticed(readers, capsys) -> None:
    reports = [report_of(reader) for reader in readers]
    with capsys.disabled():
        slowest = max(report["slowest"] for report in reports)
        sys.stdout.write(f" {sum(report['reads'] for report in reports)} reads, slowest {slowest:.2f} s ")
    assert [(report["errors"], report["wrong"]) for report in reports] == [([], 0)] * len(readers)


def shows(task, granted: bool, *, within: float) -> bool:
    """Whether sub/other is there as granted now, or becomes so."""
    deadline = time.monotonic() + within
    while not (found := (task.cat("sub/other") != "ENOENT") is granted) and time.monotonic() < deadline:
        continue
    return found
