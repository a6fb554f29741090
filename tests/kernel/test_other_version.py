"""Upgrades to another version, under load: no reader notices; and what does not start is not upgraded to."""

import os
import signal
import subprocess
import sys

import pytest
from daemons import SECRETFS, alive
from installations import FIRST_WITH_HANDOVER, Installation
from unnoticed import STEADY, nothing_was_noticed, prepared

pytestmark = pytest.mark.kernel


@pytest.fixture
def installed(tmp_path, idle_daemon):
    """Today's version, which can be changed. The daemon and its tasks are of it."""
    made = Installation(tmp_path / "venv")
    idle_daemon.program = made.program
    return made


@pytest.fixture
def old(installed, capsys):
    """The oldest version from which an upgrade must go unnoticed."""
    if not installed.becomes(FIRST_WITH_HANDOVER):
        with capsys.disabled():
            sys.stdout.write(
                f"\n*** NOT TESTED: this clone has no commit {FIRST_WITH_HANDOVER[:7]} (run git fetch --unshallow): "
                "today's version, with a word changed, stands in for the old one ***\n"
            )
        installed.change("supervisor/main.py", 'log.info("ready", ', 'log.info("ready", version=0, ')
    return installed


# -- from an old one to today's ----------------------------------------------------------------------------------------


def by_sighup(daemon, old) -> None:
    old.becomes_todays()
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_for("upgrade")
    daemon.wait_for("ready")
    daemon.wait_for("child ready", module="secretfs.fs")


def by_takeover(daemon, old) -> None:
    daemon.program = (SECRETFS,)
    daemon.take_over()
    daemon.wait_for("child ready", module="secretfs.fs")


def by_a_start_after_a_crash(daemon, old) -> None:
    """fs stays the old one."""
    daemon.program = (SECRETFS,)
    daemon.kill("supervisor")
    daemon.start()


@pytest.mark.parametrize("upgraded", [by_sighup, by_takeover, by_a_start_after_a_crash])
def test_an_old_version_is_upgraded_and_no_reader_notices(idle_daemon, old, capsys, upgraded):
    idle_daemon.start()
    readers = prepared(idle_daemon)
    task = idle_daemon.task("--service", "web")
    upgraded(idle_daemon, old)
    idle_daemon.grant("web", {"steady": "steady", "sub/other": "other"})
    assert len(task.cat("sub/other")) == 5000
    idle_daemon.grant("web", {"steady": "steady"})
    assert (task.cat("sub/other"), task.cat("steady")) == ("ENOENT", STEADY)
    assert idle_daemon.task("--service", "web").cat("steady") == STEADY
    nothing_was_noticed(readers, capsys)
    assert idle_daemon.end() == 0


def test_children_of_an_old_supervisor_may_be_todays_until_it_is_told(idle_daemon, old, capsys):
    """Files are replaced, SIGHUP comes later, and between the two fs and control die."""
    idle_daemon.start()
    readers = prepared(idle_daemon)
    task = idle_daemon.task("--service", "web")
    old.becomes_todays()
    for name in ("fs", "control", "fs"):
        idle_daemon.kill(name)
        idle_daemon.wait_for("child ready", module=f"secretfs.{name}")
        idle_daemon.grant("web", {"steady": "steady", "other": "other"})
        assert len(task.cat("other")) == 5000
        idle_daemon.grant("web", {"steady": "steady"})
        assert task.cat("other") == "ENOENT"
    by_sighup(idle_daemon, old)
    assert idle_daemon.task("--service", "web").cat("steady") == STEADY
    nothing_was_noticed(readers, capsys)
    assert idle_daemon.end() == 0


# -- any other ---------------------------------------------------------------------------------------------------------


def test_sighup_brings_what_is_installed_now(idle_daemon, installed, capsys):
    idle_daemon.start()
    readers = prepared(idle_daemon)
    installed.change("supervisor/main.py", 'log.info("ready", ', 'log.info("ready", version=2, ')
    installed.change("fs/main.py", "supervisor.send(pulse.Ready())", 'supervisor.send(pulse.Ready()), log.info("v2")')
    installed.change("control/repairs.py", "await self._due.wait()", 'await self._due.wait(), log.info("v2 too")')
    os.kill(idle_daemon.pid, signal.SIGHUP)
    idle_daemon.wait_for("ready", version=2)
    idle_daemon.wait_for("v2", process="fs")
    idle_daemon.wait_for("v2 too", process="control")  # it looks for dead mounts once more, for the new fs
    nothing_was_noticed(readers, capsys)


def test_what_does_not_start_is_not_upgraded_to(idle_daemon, installed):
    idle_daemon.start()
    before = idle_daemon.children()
    installed.change("control/main.py", "import gc\n", "import gc, no_such_module\n")
    os.kill(idle_daemon.pid, signal.SIGHUP)
    idle_daemon.wait_for("upgrade refused: this version goes on")
    assert idle_daemon.children() == before
    installed.change("control/main.py", "import gc, no_such_module\n", "import gc\n")
    os.kill(idle_daemon.pid, signal.SIGHUP)
    idle_daemon.wait_for("upgrade")
    idle_daemon.wait_for("ready")


def test_a_takeover_by_what_cannot_be_imported_leaves_this_version_alone(idle_daemon, installed):
    idle_daemon.program = (SECRETFS,)
    idle_daemon.start()
    before = idle_daemon.children()
    installed.change("supervisor/main.py", "import os\n", "import os, no_such_module\n")
    command = [*installed.program, "daemon", "--takeover", "--state-dir", idle_daemon.state]
    command += ["--runtime-dir", idle_daemon.runtime, "--root-key", f"file:{idle_daemon.key}"]
    assert subprocess.run(command, capture_output=True).returncode == 1
    assert alive(idle_daemon.pid)
    assert idle_daemon.children() == before
    idle_daemon.secret("db", b"This is a secret")


def test_a_new_fs_that_does_not_serve_leaves_the_old_one_alone(idle_daemon, installed, capsys):
    idle_daemon.start()
    readers = prepared(idle_daemon)
    fs = idle_daemon.fs_pid()
    installed.change("fs/main.py", "    _lock_in(start)\n    host", "    raise SystemExit(5)\n    host")
    os.kill(idle_daemon.pid, signal.SIGHUP)
    idle_daemon.wait_for("upgrade")
    idle_daemon.wait_for("fs is not replaced: the new one has died; the old one goes on")
    assert idle_daemon.fs_pid() == fs
    assert alive(fs)
    nothing_was_noticed(readers, capsys)
