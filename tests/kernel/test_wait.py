"""``secretfs wait``: for the daemon, for secrets, for a service's grants; and what it says when they do not come."""

import subprocess

import pytest
from daemons import ANSWER_SECONDS, SECRETFS

pytestmark = pytest.mark.kernel


@pytest.fixture
def waiting(idle_daemon):
    """Starts ``secretfs wait``."""
    started = []

    def wait(*words: str) -> subprocess.Popen:
        command = [SECRETFS, "wait", "--timeout", "60s", *words]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, env=idle_daemon.environment))
        return started[-1]

    yield wait
    for process in started:
        with process:
            process.kill()


def test_it_returns_when_the_daemon_is_there_the_secrets_are_and_the_service_is_granted_them(idle_daemon, waiting):
    for_daemon, for_secrets, for_grants = waiting(), waiting("a", "b"), waiting("--service", "web", "a", "b")
    daemon = idle_daemon.start()
    assert for_daemon.wait(ANSWER_SECONDS) == 0
    daemon.secret("a", b"a")
    assert for_secrets.poll() is None
    daemon.secret("b", b"b")
    assert for_secrets.wait(ANSWER_SECONDS) == 0
    daemon.cli("service", "create", "--secret", "a", "web")
    assert for_grants.poll() is None
    daemon.cli("service", "update", "--secret-add", "b", "web")
    assert for_grants.wait(ANSWER_SECONDS) == 0


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["here", "gone"], "secret gone"),
        (["--service", "web", "here", "gone"], "service web, secret gone"),
        (["--service", "api", "here"], "secret here of service api"),
    ],
)
def test_at_the_end_it_names_what_is_missing(shared_daemon, words, missing):
    if not shared_daemon.api("GET", "/services"):
        shared_daemon.secret("here", b"1")
        shared_daemon.cli("service", "create", "api")
    late = shared_daemon.cli("wait", "--timeout", "100ms", *words, check=False)
    assert (late.returncode, late.stderr.decode()) == (1, f"secretfs: error: not there after 100ms: {missing}\n")


def test_without_a_daemon_it_says_so(idle_daemon):
    late = idle_daemon.cli("wait", "--timeout", "0", check=False)
    assert late.returncode == 1
    assert b"cannot reach the daemon" in late.stderr


def test_a_wrong_timeout_is_told_at_once(idle_daemon):
    assert idle_daemon.cli("wait", "--timeout", "5", check=False).returncode == 2
