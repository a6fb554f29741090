"""For comparison: what the engine of Docker keeps of a secret that was removed, found by the same scanner."""

import sys

import pytest
from canary import Canary, Scanner
from engine import engine

pytestmark = [pytest.mark.kernel, pytest.mark.docker]


def test_what_docker_keeps_of_a_secret_that_is_gone(tmp_path, capsys):
    """No promise of Docker's, and none of ours: printed, and not asserted to be there."""
    canary = Canary()
    scanner = Scanner(canary.needle)
    with engine(tmp_path) as docker:
        docker.run("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:0")
        docker.run("secret", "create", "canary", "-", input=canary.value())
        created = scanner.processes([docker.pid])
        docker.run("secret", "rm", "canary")
        removed = scanner.processes([docker.pid])
        files = scanner.files(tmp_path)
    with capsys.disabled():
        for when, hits in (("created", created), ("removed", removed), ("removed, files", files)):
            share = sum(hit.words for hit in hits) / (canary.size / 8)
            sys.stdout.write(f" {when}: {len(hits)} places, {share:.1f} copies;")
