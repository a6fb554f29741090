"""A random walk through secrets, configs and services: an engine and secretfs answer every step alike."""

import json
import os

import pytest
from engine import engine
from test_docker_differential import ALONE
from walk import Walk, Walker, taken

pytestmark = [pytest.mark.kernel, pytest.mark.docker]
STEPS = 400
SEED = int(os.environ.get("SECRETFS_WALK_SEED", "1"))


def test_every_step_is_answered_alike(daemon, tmp_path_factory):
    base = tmp_path_factory.mktemp("e")
    ours = Walker(str(daemon.runtime / "api.sock"))
    walk = Walk(SEED)
    differing = []
    with engine(base, before=ALONE) as real:
        real.run("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
        theirs = Walker(str(base / "docker.sock"))
        for number in range(STEPS):
            step = walk.step()
            wanted, found = taken(theirs, step), taken(ours, step)
            if wanted != found:
                differing.append(f"{number}: {json.dumps(step)[:300]}\n  engine:   {wanted}\n  secretfs: {found}")
        real.run("swarm", "leave", "--force")
    print(f"\nseed {SEED}: {STEPS} steps, {len(differing)} answered differently")  # noqa: T201 what was compared
    assert not differing, "\n".join(differing)
