"""Many tasks at once: each sees its own tree only, and nothing is left of any."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

CROWD = str(Path(__file__).with_name("crowd.py"))
TASKS = 300
STOP_SECONDS = 60


def test_three_hundred_tasks_see_their_own_trees_and_leave_nothing(daemon):
    values = {f"s{index}": os.urandom(64).hex().encode() for index in range(TASKS)}
    for name, value in values.items():
        daemon.api("POST", "/secrets/create", {"Name": name, "Data": base64.b64encode(value).decode()})
    words = [sys.executable, CROWD, str(daemon.runtime / "attach.sock"), *values]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd:
        seen = dict(json.loads(crowd.stdout.readline()) for _ in values)
        assert seen == {name: {name: value.hex()} for name, value in values.items()}
        assert len(daemon.out("ps", "-q").split()) == TASKS
        assert values["s0"] in daemon.arena()
        crowd.stdin.close()
        assert crowd.wait(STOP_SECONDS) == 0
    deadline = time.monotonic() + STOP_SECONDS
    while daemon.out("ps", "-q"):
        assert time.monotonic() < deadline, "tasks are left"
    arena = daemon.arena()
    assert [name for name, value in values.items() if value in arena or value[:32] in arena] == []
