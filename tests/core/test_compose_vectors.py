"""Two hundred compose files as docker's command line reads them, and where secretfs reads them otherwise, and why."""

import json
import shutil

import pytest
from compose_vectors import COUNT, VECTORS, agree, dockers, generated, ours

FROZEN = json.loads(VECTORS.read_text())


@pytest.mark.parametrize("number", range(COUNT))
def test_a_file_says_what_it_says_to_docker_or_something_else_for_a_reason(number: int) -> None:
    vector = FROZEN["vectors"][number]
    own = ours(vector["files"])
    if "reason" in vector:
        assert own == vector["ours"]
        assert not agree(vector["docker"], own)
    else:
        assert agree(vector["docker"], own)


def test_every_difference_has_a_reason_and_most_files_have_none() -> None:
    reasons = [vector["reason"] for vector in FROZEN["vectors"] if "reason" in vector]
    assert set(reasons) <= set(FROZEN["reasons"])
    both = [vector for vector in FROZEN["vectors"] if "reason" not in vector and isinstance(vector["docker"], dict)]
    assert len(FROZEN["vectors"]) == COUNT == 200
    assert len(both) >= 100


def test_files_without_anything_odd_differ_in_what_docker_loses_only() -> None:
    plain = [vector.get("reason") for vector in FROZEN["vectors"][::2]]
    assert set(plain) - {None} <= {"targets", "fields"}


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker command line")
@pytest.mark.parametrize("number", range(0, COUNT, 10))
def test_docker_still_says_so(number: int) -> None:
    vector = FROZEN["vectors"][number]
    assert generated(number) == vector["files"]
    assert agree(dockers(vector["files"]), vector["docker"])
