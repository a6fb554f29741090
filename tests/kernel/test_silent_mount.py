"""A mount whose server has taken a question and never answers, which no signal ends: it holds up no repair."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

SILENT = str(Path(__file__).with_name("silent.py"))
SECONDS = 6  # of the eight that a repair may take


def test_a_mount_that_never_answers_counts_as_alive_and_nobody_waits_for_it(tmp_path):
    with subprocess.Popen(
        [sys.executable, SILENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as asking:
        try:
            said = [
                os.read(asking.stdout.fileno(), 100)
                for _ in range(2)
                if select.select([asking.stdout], [], [], SECONDS)[0]
            ]
            assert said == [b"dead: False\n", b""], "nobody who waits has its standard output"
            assert asking.wait(SECONDS) == 0
        finally:
            asking.kill()
