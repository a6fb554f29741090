"""Every open is in the audit, with who it was, whichever process of secretfs is killed meanwhile."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest
from daemons import SECRETFS, Daemon

from secretfs.store.rows import checksum

PROCESSES, EACH = 8, 1250
Rows = list[tuple[bytes, bytes]]  # key, value
Edits = dict[bytes, bytes | None]
SECONDS = 60
OPENER = f"""
import os, sys
for number in range({PROCESSES}):
    if os.fork() == 0:
        os.setgroups([]); os.setgid(6000 + number); os.setuid(5000 + number)
        os.write(1, f"{{os.getpid()}} {{5000 + number}}\\n".encode())
        for _ in range({EACH}):
            os.close(os.open("/run/secrets/shown", os.O_RDONLY))
        os._exit(0)
for _ in range({PROCESSES}):
    os.wait()
"""


def opens_of(daemon: Daemon, least: int) -> list[dict]:
    """The opens in the audit, as soon as there are so many, and what came with them."""
    found: list[dict] = []
    after, until = -1, time.monotonic() + SECONDS
    while len(found) < least:
        assert time.monotonic() < until, f"{len(found)} of {least} opens after {SECONDS} s"
        query = f"?seconds=2&after={after}" if after >= 0 else ""
        page = daemon.api("GET", f"/secretfs/v1/audit{query}")
        after = page[-1]["Number"] if page else after
        found += [record for record in page if record["Action"] == "open"]
    return found


def opened_by_eight(daemon: Daemon, *killed: str) -> tuple[Counter, list[dict]]:
    """How often which process with which uid has opened, and what the audit says."""
    daemon.secret("s", b"value")
    command = [SECRETFS, "run", "--secret", "source=s,target=shown", "--", sys.executable, "-c", OPENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=daemon.environment) as task:
        processes = [tuple(map(int, task.stdout.readline().split())) for _ in range(PROCESSES)]
        for name in killed:
            daemon.kill(name)
        assert task.wait(SECONDS) == 0
    return Counter(dict.fromkeys(processes, EACH)), opens_of(daemon, PROCESSES * EACH)


def test_ten_thousand_opens_are_ten_thousand_records_also_when_control_is_killed(daemon):
    opened, kept = opened_by_eight(daemon, "control")
    assert Counter((record["PID"], record["UID"]) for record in kept) == opened
    first = kept[0]
    assert (first["Kind"], first["Name"], first["Detail"]["Target"], first["Detail"]["Version"]) == (
        "secret",
        "s",
        "shown",
        1,
    )
    verdict = daemon.api("GET", "/secretfs/v1/audit/verify")
    assert verdict["OK"], verdict


def test_an_open_that_was_answered_by_a_second_fs_says_that_it_may_be_a_repetition(daemon):
    opened, kept = opened_by_eight(daemon, "fs")
    repeated = sum(record["Detail"].get("Repeated", False) for record in kept)
    assert repeated <= 1, "one request was in hand when fs was killed"
    assert len(kept) - repeated <= opened.total() <= len(kept)
    assert {(record["PID"], record["UID"]) for record in kept} == set(opened)


def flip(rows: Rows) -> Edits:
    key, value = rows[1]
    changed = bytearray(value)
    changed[len(value) // 2] ^= 1
    return {key: bytes(changed)}


def remove(rows: Rows) -> Edits:
    return {rows[1][0]: None}


def cut(rows: Rows) -> Edits:
    return {rows[-1][0]: None}


def swap(rows: Rows) -> Edits:
    return {rows[1][0]: rows[2][1], rows[2][0]: rows[1][1]}


@pytest.mark.parametrize("attack", [flip, remove, cut, swap])
def test_what_somebody_with_the_file_does_to_the_audit_is_found(daemon, attack):
    for name in ("a", "b", "c"):
        daemon.secret(name, b"value")
    assert daemon.out("audit", "verify").startswith("ok: 3 records")
    assert daemon.end() == 0
    with contextlib.closing(sqlite3.connect(daemon.state / "secretfs.db")) as database, database:
        found = database.execute(
            "SELECT key, value, rev FROM record WHERE substr(key, 1, 6) = CAST('audit/' AS BLOB) ORDER BY key"
        ).fetchall()
        for key, value in attack([(key, value) for key, value, _ in found]).items():
            [rev] = [rev for name, _, rev in found if name == key]
            if value is None:
                database.execute("DELETE FROM record WHERE key = ?", (key,))
            else:
                fields = (value, checksum(key, rev, value), key)
                database.execute("UPDATE record SET value = ?, checksum = ? WHERE key = ?", fields)
    daemon.start()
    verified = daemon.cli("audit", "verify", check=False)
    assert verified.returncode == 1
    assert b"the audit is not what was written: row" in verified.stderr
