"""A few hundred command lines of the stock client, typed to a real engine and to secretfs: what differs is in a list.

Ids, times, versions, tokens and keys are masked. JSON is compared as what it says, without the order of its keys.
"""

import json
import os
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker_differences import DIFFERENCES
from docker_lines import LINES
from engine import engine
from test_docker_stack import LONG, SHORT

pytestmark = [pytest.mark.kernel, pytest.mark.docker]
ALONE = ("unshare", "--net", "sh", "-c", 'busybox ip link set lo up && exec "$@"', "sh")  # its ports are its own

MASKS = [
    (r"SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}", "TOKEN"),
    (r"SWMKEY-1-[0-9A-Za-z+/]{43}", "KEY"),
    (r"(?s)-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----", "ROOT"),
    (r"\b[0-9a-z]{25}\b", "ID"),
    (r"\b(?=[0-9a-z]*[0-9])(?=[0-9a-z]*[a-z])[0-9a-z]{12}\b", "SHORTID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 utc)", "TIME"),
    (r"(Less than a second|\d+ seconds?|About a minute|\d+ minutes) ago", "AGO"),
    (r'"Index": \d+', '"Index": N'),
    (r"(?<=daemon: )Invalid ", "invalid "),  # engines before 23 begin with a capital
    (r" +", " "),  # the columns of a table are as wide as what is masked
]


@dataclass(frozen=True)
class Said:
    """What a command line came to."""

    code: int
    out: str
    err: str


def typed(line: str, environment: dict[str, str], directory: Path) -> Said:
    line, _, stdin = line.replace("HOSTNAME", socket.gethostname()).partition(" <<< ")
    line = line.replace("{soon}", str(int(time.time()) + 1))
    done = subprocess.run(
        ["docker", *shlex.split(line)],
        input=stdin,
        capture_output=True,
        env=environment,
        cwd=directory,
        timeout=60,
        text=True,
    )
    return Said(done.returncode, masked(done.stdout), masked(done.stderr))


def masked(text: str) -> str:
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    try:
        return json.dumps(without_order(json.loads(text)), sort_keys=True)
    except ValueError:
        return text


def without_order(value: object) -> object:
    """Objects of a list in an order of our own: docker's client sends grants in any."""
    if isinstance(value, dict):
        return {key: without_order(field) for key, field in value.items()}
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return sorted(map(without_order, value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


def all_typed(host: str, directory: Path) -> list[Said]:
    environment = os.environ | {"DOCKER_HOST": host, "DOCKER_CONFIG": str(directory / "client")}
    return [typed(line, environment, directory) for line in LINES]


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def directory(tmp_path):
    place = tmp_path / "files"
    place.mkdir()
    (place / "my_secret.txt").write_text("This is a secret")
    (place / "short.yml").write_text(SHORT)
    (place / "long.yml").write_text(LONG)
    (place / "undefined.yml").write_text(SHORT.partition("secrets:\n  my_secret:")[0])
    return place


def test_the_stock_client_is_told_what_an_engine_tells_it(daemon, directory, tmp_path_factory):
    base = tmp_path_factory.mktemp("e")  # short: a socket of the engine is deep below it
    ours: list[Said] = []
    with engine(base, before=ALONE) as real:
        real.run("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
        typing = in_background(lambda: ours.extend(all_typed(daemon.host, directory)))
        theirs = all_typed(f"unix://{base}/docker.sock", directory)
        typing.join()
        real.run("swarm", "leave", "--force")
    differing = {
        line: (engines, secretfs)
        for line, engines, secretfs in zip(LINES, theirs, ours, strict=True)
        if engines != secretfs
    }
    unexplained = {line: both for line, both in differing.items() if line not in DIFFERENCES}
    print(  # noqa: T201 what was compared is the point
        f"\n{len(LINES)} command lines, {len(differing)} differ, {len(unexplained)} of them without a reason"
    )
    assert not unexplained, "\n".join(
        f"{line}\n  engine:   {engines}\n  secretfs: {secretfs}" for line, (engines, secretfs) in unexplained.items()
    )
