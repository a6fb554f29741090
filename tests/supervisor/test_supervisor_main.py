import pytest

from secretfs.errors import SetupError
from secretfs.supervisor import main as supervisor_main
from secretfs.supervisor.main import EXIT_REFUSED, MAX_DELAY_SECONDS, restart_delay


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_a_bound():
    delays = [restart_delay(failures) for failures in range(20)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == MAX_DELAY_SECONDS


@pytest.mark.parametrize("failures", [1_100, 10**9])
def test_a_child_that_never_becomes_ready_is_started_again_for_as_long_as_it_takes(failures):
    assert restart_delay(failures) == MAX_DELAY_SECONDS


def test_a_refusal_is_one_line_of_text(monkeypatch, capfd):
    def refused():
        raise SetupError("the directory '\x1b[2J\nfake' cannot be used")

    monkeypatch.setattr(supervisor_main.setup, "check_root", refused)
    monkeypatch.setattr(supervisor_main.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(supervisor_main.process, "set_dumpable", lambda _: None)
    assert supervisor_main.main() == EXIT_REFUSED
    assert capfd.readouterr().err == "secretfs: error: the directory '\\x1b[2J\\nfake' cannot be used\n"
