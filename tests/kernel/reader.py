"""Reads files in a loop until SIGTERM, then reports: reads, errors, wrong bytes, the slowest read in seconds, and the
longest time between two reads that were right. After an error it waits a moment, as any program would.

Arguments: paths, each followed by the hex digests (SHA-256) of what it may hold, as ``PATH=DIGEST,DIGEST``.
"""

import hashlib
import json
import select
import signal
import sys
import time

RETRY_SECONDS = 0.01


def main() -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    allowed = {path: set(digests.split(",")) for path, _, digests in (word.partition("=") for word in sys.argv[1:])}
    report = {"reads": 0, "errors": [], "wrong": 0, "slowest": 0.0, "gap": 0.0}
    right = time.monotonic()
    sys.stdout.write("reading\n")
    sys.stdout.flush()
    while not stopped:
        for path, digests in allowed.items():
            began = time.monotonic()
            try:
                with open(path, "rb") as file:
                    report["wrong"] += hashlib.sha256(file.read()).hexdigest() not in digests
            except OSError as exc:
                report["errors"].append(str(exc))
                select.select([], [], [], RETRY_SECONDS)
            else:
                report["gap"] = max(report["gap"], time.monotonic() - right)
                right = time.monotonic()
            report["slowest"] = max(report["slowest"], time.monotonic() - began)
            report["reads"] += 1
    sys.stdout.write(json.dumps(report) + "\n")


main()
