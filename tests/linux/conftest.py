"""What changes a process for good is tried in a child."""

import json
import os
import traceback
from collections.abc import Callable

import pytest


def run_in_child(act: Callable[[], object]) -> object:
    """What act returns (JSON) when a forked child runs it; AssertionError with its traceback when it raises."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writer, json.dumps(act()).encode())
            code = 0
        finally:
            if code:
                os.write(writer, traceback.format_exc().encode())
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said.decode()
    return json.loads(said)


@pytest.fixture
def child() -> Callable[[Callable[[], object]], object]:
    return run_in_child
