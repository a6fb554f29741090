"""Daemons for the command line: a fake in a thread, and the real API in a thread."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Ended, run
from fake_daemon import FakeDaemon, fake_daemon
from real_daemon import RealDaemon, real_daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with fake_daemon(tmp_path / "api.sock") as daemon:
        yield daemon


@pytest.fixture
def secretfs(daemon: FakeDaemon) -> Callable[..., Ended]:
    """Run a command line, given word by word, against the fake."""

    def run_words(*words: str, stdin: bytes = b"") -> Ended:
        return run(daemon.host, list(words), stdin)

    return run_words


@pytest.fixture(params=["fake", "real"])
def any_daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeDaemon | RealDaemon]:
    serving = fake_daemon(tmp_path / "api.sock") if request.param == "fake" else real_daemon(tmp_path)
    with serving as daemon:
        yield daemon
