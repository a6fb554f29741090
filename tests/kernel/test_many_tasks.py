"""Many tasks at once: each sees its own tree only, and nothing is left of any."""

import base64
import os
import subprocess
import time

import pytest
from daemons import SECRETFS

pytestmark = pytest.mark.kernel

TASKS = 300
STOP_SECONDS = 60


def test_three_hundred_tasks_see_their_own_trees_and_leave_nothing(daemon):
    values = {f"s{index}": os.urandom(64).hex().encode() for index in range(TASKS)}
    for name, value in values.items():
        daemon.api("POST", "/secrets/create", {"Name": name, "Data": base64.b64encode(value).decode()})
    tasks = [_started(daemon, name) for name in values]
    try:
        seen = [task.stdout.read() for task in tasks]
        assert seen == [name.encode() + b"\n" + value for name, value in values.items()]
        assert len(daemon.out("ps", "-q").split()) == TASKS
        assert values["s0"] in daemon.arena()
    finally:
        for task in tasks:
            task.stdin.close()
            task.stdout.close()
            task.wait(STOP_SECONDS)
    deadline = time.monotonic() + STOP_SECONDS
    while daemon.out("ps", "-q"):
        assert time.monotonic() < deadline, "tasks are left"
    arena = daemon.arena()
    assert [name for name, value in values.items() if value in arena or value[:32] in arena] == []


def _started(daemon, name: str) -> subprocess.Popen:
    """A task that prints what it sees, closes its stdout, and lives until its stdin ends."""
    script = "ls /run/secrets; cat /run/secrets/*; exec >&-; read -r line"
    return subprocess.Popen(
        [SECRETFS, "run", "--secret", name, "--", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=daemon.environment,
    )
