"""Watching a process: gone, stopped, hung; and none of them by mistake."""

import ast
import contextlib
import errno
import os
import select
import signal
import subprocess

import pytest

from secretfs.link import pulse
from secretfs.linux import process, seqpacket
from secretfs.supervisor import child as child_module
from secretfs.supervisor.child import BEAT_SECONDS, HUNG_SECONDS, LATE_SECONDS, UNKNOWN, Child, Stray, strays

PATIENCE_SECONDS = 10


def readable(fd) -> None:
    assert select.select([fd], [], [], PATIENCE_SECONDS)[0], "it did not come"


def heard(child):
    readable(child.end)
    return child.receive()


def state(child) -> str:
    """The state of its leader, waited for while it is a running one."""
    os.sched_yield()
    return process.process_state(child.pid)


def until_state(child, wanted: str) -> None:
    poll = select.poll()
    for _ in range(PATIENCE_SECONDS * 1000):
        if state(child) in wanted:
            return
        poll.poll(1)
    pytest.fail(f"it is never {wanted}")


def answered(child) -> None:
    frame, _ = heard(child)
    child.answered(frame.beat)


def test_one_that_answers_is_alive(started, clock):
    child = started("answers")
    for _ in range(5):
        clock.now += BEAT_SECONDS
        child.beat()
        answered(child)
        assert child.dead() is None
    clock.now += 100
    assert child.dead() is None, "nothing was asked"


def test_it_is_asked_once_per_beat_however_often_the_loop_turns(started, clock):
    """An answer woke the loop, the loop asked again: two processes did nothing else, at full speed."""
    child = started("answers")
    clock.now += BEAT_SECONDS
    for _ in range(3):
        child.beat()
    answered(child)
    child.beat()
    assert not select.select([child.end], [], [], 0.05)[0]
    clock.now += BEAT_SECONDS
    child.beat()
    assert heard(child) == (pulse.Pong(2), [])


def test_an_answer_to_an_older_question_is_none(started, clock):
    child = started("answers")
    clock.now += BEAT_SECONDS
    child.beat()
    child.answered(0)
    child.ready = True
    clock.now += HUNG_SECONDS + 1
    assert child.dead() == "hung"


@pytest.mark.parametrize("code", [0, 3, 78])
def test_one_that_ended_is_gone_and_its_exit_code_known(started, code):
    child = started("exits", str(code))
    readable(child.pidfd)
    assert child.dead() == "gone"
    assert (child.exit_code(), child.last_word()) == (code, code)


def test_one_that_was_killed_is_gone(started):
    child = started("silent")
    os.kill(child.pid, signal.SIGKILL)
    readable(child.pidfd)
    assert child.dead() == "gone"
    assert child.exit_code() == -signal.SIGKILL


def test_one_whose_leader_went_and_whose_thread_did_not_is_gone_though_it_cannot_be_reaped(started, clock):
    """An fs killed inside a notification: Z, a thread in D, and nothing for waitpid."""
    child = started("leader goes")
    until_state(child, "Z")
    assert child.exit_code() is None
    clock.now += BEAT_SECONDS
    child.beat()
    clock.now += BEAT_SECONDS
    assert child.dead() == "gone"
    assert child.last_word() is None


def test_one_that_is_stopped_counts_as_dead_when_it_is_late(started, clock):
    child = started("answers")
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    clock.now += BEAT_SECONDS
    child.beat()
    clock.now += LATE_SECONDS
    assert child.dead() is None
    clock.now += 0.01
    assert child.dead() == "stopped"


def test_one_that_is_stopped_and_goes_on_in_time_is_not_dead(started, clock):
    child = started("answers")
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    clock.now += BEAT_SECONDS
    child.beat()
    clock.now += LATE_SECONDS - 0.1
    assert child.dead() is None
    os.kill(child.pid, signal.SIGCONT)
    answered(child)
    clock.now += 1
    assert child.dead() is None


def test_one_that_does_not_answer_is_hung_only_after_a_long_time_and_only_once_it_was_ready(started, clock):
    child = started("silent")
    assert heard(child) == (pulse.Ready(), [])
    clock.now += BEAT_SECONDS
    child.beat()
    clock.now += HUNG_SECONDS
    child.ready = True
    assert child.dead() is None, "a busy machine is slow"
    clock.now += 0.01
    assert child.dead() == "hung"
    child.ready = False
    assert child.dead() is None, "it is still importing"


def test_words_to_one_that_is_gone_are_no_error(started):
    child = started("exits", "0")
    readable(child.pidfd)
    for _ in range(3):
        child.send(pulse.Stop())
    assert child.receive() is None


def test_words_to_one_that_does_not_read_are_no_error(started):
    child = started("silent")
    for _ in range(5000):
        child.send(pulse.Stop())


def test_garbage_is_no_frame_and_its_descriptors_are_closed(started):
    child = started("garbage")
    before = set(os.listdir("/proc/self/fd"))
    assert heard(child) is None
    assert heard(child) is None
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_kill_is_final_and_needs_no_wait(started):
    child = started("answers")
    child.kill()
    assert child.wait(PATIENCE_SECONDS)
    assert child.exit_code() == -signal.SIGKILL


def test_a_wait_that_is_over_says_so(started):
    assert started("silent").wait(0.01) is False


def test_it_gets_a_clean_environment_its_descriptors_and_a_session_of_its_own(started, monkeypatch, tmp_path):
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("A_PASSWORD", "s3cret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    extra = os.open(tmp_path, os.O_RDONLY)
    child = started("environment", fds=[extra])
    os.close(extra)
    readable(child.end)
    environment, words, where, session = ast.literal_eval(child.end.recv(1 << 16).decode())
    assert words == ["-P", "-m", "environment"]
    assert (where, session) == ("/", child.pid)
    allowed = {"PATH", "LANG", "LC_ALL", "TZ", "CREDENTIALS_DIRECTORY", "PYTHONMALLOC", "GLIBC_TUNABLES", "PWD"}
    assert environment.keys() <= allowed | {"LC_CTYPE", "_", "SHLVL", "OLDPWD"}
    assert environment["PYTHONMALLOC"] == "malloc"
    assert "perturb" in environment["GLIBC_TUNABLES"]
    inherited = set()
    for number in os.listdir(f"/proc/{child.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            inherited.add(os.readlink(f"/proc/{child.pid}/fd/{number}"))
    assert str(tmp_path) in inherited
    assert sum(place.startswith("socket:") for place in inherited) <= 2  # its end, and stderr if that is one


# -- those that another program has started --------------------------------------------------------------------------


@pytest.fixture
def grandchild():
    """A process that is not our child, and never will be: its pid and pidfd."""
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 1000 >/dev/null & echo $!; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    pid = int(shell.stdout.readline())
    pidfd = os.pidfd_open(pid)
    with shell:
        yield pid, os.dup(pidfd)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)


def adopted(pidfd) -> Child:
    ours, theirs = seqpacket.pair()
    with theirs, contextlib.ExitStack() as unless_adopted:
        unless_adopted.enter_context(ours)
        child = Child.adopted("secretfs.fs", ours, pidfd)
        unless_adopted.pop_all()
        return child


def test_an_adopted_one_is_watched_though_it_is_no_child(grandchild):
    pid, pidfd = grandchild
    child = adopted(pidfd)
    assert child.pid == pid
    assert (child.exit_code(), child.dead(), child.wait(0.01)) == (None, None, False)
    os.kill(pid, signal.SIGKILL)
    assert child.wait(PATIENCE_SECONDS)
    assert (child.dead(), child.exit_code(), child.last_word()) == ("gone", UNKNOWN, UNKNOWN)
    child.kill()


def test_an_adopted_one_is_killed_and_its_end_known_afterwards(grandchild):
    child = adopted(grandchild[1])
    child.kill()
    assert child.wait(PATIENCE_SECONDS)
    assert child.exit_code() == UNKNOWN


def test_one_that_is_gone_cannot_be_adopted():
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
    with pytest.raises(ProcessLookupError):
        adopted(pidfd)
    os.close(pidfd)


@pytest.mark.parametrize(("how", "code"), [("exit 7", 7), ("kill -9 $$", -9)])
def test_children_that_the_program_before_exec_has_left_are_reaped(how, code):
    left = subprocess.Popen(["sh", "-c", f"read line; {how}"], stdin=subprocess.PIPE)
    besides = subprocess.Popen(["sleep", "1000"])
    found = strays(besides=besides.pid)
    mine = [stray for stray in found if stray.poll() is None]
    left.stdin.close()
    codes = []
    for stray in mine:
        with contextlib.suppress(subprocess.TimeoutExpired):
            codes.append(stray.wait(PATIENCE_SECONDS if stray is mine[-1] else 0.5))
    assert code in codes
    assert not os.path.exists(f"/proc/{left.pid}")
    left.returncode = code
    besides.kill()
    besides.wait()


def test_nobody_is_waited_for_longer_than_that():
    with subprocess.Popen(["sleep", "1000"]) as process:
        stray = Stray(os.pidfd_open(process.pid))
        with pytest.raises(subprocess.TimeoutExpired):
            stray.wait(0.01)
        process.kill()


def test_one_whose_state_cannot_be_read_counts_by_its_answers(started, clock, monkeypatch):
    def no_descriptor(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    child = started("answers")
    child.ready = True
    clock.now += BEAT_SECONDS
    child.beat()
    monkeypatch.setattr(child_module.process, "process_state", no_descriptor)
    clock.now += LATE_SECONDS
    assert child.dead() is None
    clock.now += HUNG_SECONDS
    assert child.dead() == "hung"
