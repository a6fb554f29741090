"""Autolock on a real daemon: what a locked one does, what it refuses and in which words, and what an unlock brings."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from daemons import SECRETFS, Daemon

pytestmark = [pytest.mark.kernel, pytest.mark.docker]

LOCKED = (
    'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.'
)
ALREADY = 'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.'
REFUSED = "secretfs: error: swarm could not be unlocked: invalid key provided"
HINT = """To unlock a swarm manager after it restarts, run the `{program} swarm unlock`
command and provide the following key:

    {key}

Remember to store this key in a password manager, since without it you
will not be able to restart the manager.
"""
KEY = re.compile(r"SWMKEY-1-[A-Za-z0-9+/]{43}")
WRONG = "SWMKEY-1-" + "A" * 43


def docker(daemon: Daemon, *words: str, stdin: str = "") -> tuple[int, str]:
    """Exit code, and all that it printed."""
    environment = daemon.environment | {"DOCKER_HOST": daemon.host, "DOCKER_CONFIG": str(daemon.root / "docker")}
    done = subprocess.run(["docker", *words], input=stdin, capture_output=True, text=True, env=environment, timeout=60)
    return done.returncode, done.stdout + done.stderr


def secretfs(daemon: Daemon, *words: str, stdin: bytes = b"") -> tuple[int, str]:
    done = daemon.cli(*words, input=stdin, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def autolocked(daemon: Daemon) -> str:
    """Switch autolock on; the unlock key."""
    daemon.cli("swarm", "update", "--autolock=true")
    return daemon.out("swarm", "unlock-key", "-q")


def control_killed(daemon: Daemon) -> None:
    daemon.kill("control")
    daemon.wait_for("child ready", module="secretfs.control")


def state(daemon: Daemon) -> str:
    return daemon.api("GET", "/info")["Swarm"]["LocalNodeState"]


def test_docker_switches_autolock_on_rotates_unlocks_and_switches_off(daemon):
    code, said = docker(daemon, "swarm", "unlock-key")
    assert (code, said) == (1, "no unlock key is set\n")
    assert docker(daemon, "swarm", "unlock-key", "--rotate") == (1, "cannot rotate because autolock is not turned on\n")
    assert docker(daemon, "swarm", "unlock") == (1, "Error: swarm is not locked\n")
    assert docker(daemon, "swarm", "init") == (1, f"Error response from daemon: {ALREADY}\n")

    _, said = docker(daemon, "swarm", "update", "--autolock=true")
    first = KEY.search(said)[0]
    assert said == "Swarm updated.\n" + HINT.format(program="docker", key=first)
    assert docker(daemon, "swarm", "unlock-key") == (0, HINT.format(program="docker", key=first))
    assert docker(daemon, "swarm", "unlock-key", "-q") == (0, f"{first}\n")
    _, said = docker(daemon, "swarm", "unlock-key", "--rotate")
    second = KEY.search(said)[0]
    assert said == "Successfully rotated manager unlock key.\n" + HINT.format(program="docker", key=second)
    assert first != second
    assert docker(daemon, "swarm", "unlock-key", "-q") == (0, f"{second}\n")

    control_killed(daemon)
    assert "Swarm: locked" in docker(daemon, "info")[1]
    assert docker(daemon, "secret", "ls") == (1, f"Error response from daemon: {LOCKED}\n")
    assert docker(daemon, "swarm", "init") == (1, f"Error response from daemon: {ALREADY}\n")
    refused = "Error response from daemon: swarm could not be unlocked: invalid key provided\n"
    assert docker(daemon, "swarm", "unlock", stdin=f"{first}\n") == (1, refused)
    assert docker(daemon, "swarm", "unlock", stdin="nope\n") == (1, "Error response from daemon: invalid key string\n")
    assert docker(daemon, "swarm", "unlock", stdin=f"{second}\n") == (0, "")
    assert "Swarm: active" in docker(daemon, "info")[1]

    assert docker(daemon, "swarm", "update", "--autolock=false") == (0, "Swarm updated.\n")
    assert docker(daemon, "swarm", "unlock-key") == (1, "no unlock key is set\n")
    control_killed(daemon)
    assert docker(daemon, "secret", "ls", "-q") == (0, "")


def test_secretfs_says_the_same_with_a_hint(daemon):
    assert secretfs(daemon, "swarm", "unlock-key") == (1, "secretfs: error: no unlock key is set\n")
    code, said = secretfs(daemon, "swarm", "unlock-key", "--rotate")
    assert (code, said) == (1, "secretfs: error: cannot rotate because autolock is not turned on\n")
    assert secretfs(daemon, "swarm", "unlock") == (1, "secretfs: error: swarm is not locked\n")
    _, said = secretfs(daemon, "swarm", "update", "--autolock=true")
    key = KEY.search(said)[0]
    assert said == "Swarm updated.\n" + HINT.format(program="secretfs", key=key)
    assert secretfs(daemon, "swarm", "update", "--autolock=true") == (0, "Swarm updated.\n")
    assert secretfs(daemon, "swarm", "unlock-key", "--quiet") == (0, f"{key}\n")

    control_killed(daemon)
    refused = f"secretfs: error: {LOCKED}\nsecretfs: hint: secretfs swarm unlock\n"
    for words in (
        "secret ls", "secret inspect x", "secret rm x", "service ls", "service rm web", "key rotate", "key ls",
        "swarm unlock-key", "swarm update --autolock=false", "run --secret x -- true", "config ls",
    ):  # fmt: skip
        code, said = secretfs(daemon, *words.split())
        assert (code == 0, said) == (False, refused), words
    for nonsense in (b"x\n", b"", b"\xff\0\n", b"SWMKEY-1-" + b"A" * 1_000_000):
        code, said = secretfs(daemon, "swarm", "unlock", stdin=nonsense)
        assert (code, said) in ((1, "secretfs: error: invalid key string\n"), (1, f"{REFUSED}\n")), nonsense[:10]
    assert secretfs(daemon, "swarm", "unlock", stdin=WRONG.encode()) == (1, f"{REFUSED}\n")
    assert secretfs(daemon, "swarm", "unlock", stdin=f"{key}\n".encode()) == (0, "")
    assert secretfs(daemon, "swarm", "update", "--autolock=false") == (0, "Swarm updated.\n")
    control_killed(daemon)
    assert secretfs(daemon, "secret", "ls", "-q") == (0, "")


def test_a_locked_control_serves_flushes_and_detaches_and_exposes_nothing_new(daemon):
    daemon.secret("db", b"the value")
    daemon.secret("late", b"not yet")
    daemon.cli("service", "create", "--secret", "db", "web")
    stays, ends, taken = (daemon.task("--service", "web") for _ in range(3))
    key = autolocked(daemon)
    control_killed(daemon)
    assert state(daemon) == "locked"
    assert [task.cat("db") for task in (stays, ends, taken)] == [b"the value"] * 3

    assert ends.stop() == 0
    while len(tasks := daemon.api("GET", "/secretfs/v1/tasks")) > 2:
        pass
    assert "task detach" in daemon.out("audit", "--format", "{{.Action}}")
    [detached] = [task["ID"] for task in tasks if task["PID"] == taken.pid]
    daemon.cli("detach", detached)
    assert taken.cat("db") == "ENOENT"
    assert secretfs(daemon, "run", "--service", "web", "--", "true")[0] == 125
    daemon.kill("fs")
    daemon.wait_for("child ready", module="secretfs.fs")
    assert stays.cat("db") == b"the value"

    daemon.cli("swarm", "unlock", input=key.encode())
    daemon.cli("service", "update", "--secret-add", "late", "web")
    assert stays.cat("late") == b"not yet"
    assert b"the value" in daemon.arena()


def test_after_the_loss_of_everything_a_locked_start_shows_nothing_until_the_unlock_shows_it_all(idle_daemon):
    daemon = idle_daemon.start()
    daemon.secret("db", b"the value")
    daemon.secret("key", b"another")
    daemon.cli("service", "create", "--secret", "db", "--secret", "source=key,target=sub/key", "web")
    task = daemon.task("--service", "web")
    key = autolocked(daemon)
    daemon.kill()
    daemon.start()
    while task.do("ls", "/run/secrets") != []:
        pass
    assert task.cat("db") == "ENOENT"
    assert b"the value" not in daemon.arena()
    code, said = secretfs(daemon, "ps", "--format", "{{.PID}} {{.Secrets}}")
    warning = "secretfs: warning: 2 files are not shown, because the store is locked\n"
    assert (code, said) == (0, f"{task.pid} \n{warning}secretfs: hint: secretfs swarm unlock\n")
    assert any("locked: nothing new is shown" in line for line in daemon.lines)
    daemon.kill("control")
    daemon.wait_for("child ready", module="secretfs.control")
    assert task.do("ls", "/run/secrets") == []

    daemon.cli("swarm", "unlock", input=key.encode())
    assert task.cat("db") == b"the value"
    assert task.cat("sub/key") == b"another"
    assert daemon.out("ps", "--format", "{{.Secrets}}") == "db:1, key:1->sub/key"


def test_an_unlock_key_opens_nothing_once_it_is_replaced_or_autolock_is_off(daemon):
    first = autolocked(daemon)
    second = daemon.out("swarm", "unlock-key", "--rotate", "-q")
    assert KEY.fullmatch(first)
    assert KEY.fullmatch(second)
    control_killed(daemon)
    assert secretfs(daemon, "swarm", "unlock", stdin=first.encode())[0] == 1
    assert state(daemon) == "locked"
    daemon.cli("swarm", "unlock", input=second.encode())
    daemon.cli("swarm", "update", "--autolock=false")
    third = autolocked(daemon)
    assert third not in (first, second)


def test_an_unlock_key_is_asked_for_at_a_terminal_that_does_not_show_it(daemon):
    key = autolocked(daemon)
    control_killed(daemon)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(SECRETFS, [SECRETFS, "swarm", "unlock"], daemon.environment)
    shown = b""
    while not shown.endswith(b"Enter unlock key: "):
        shown += os.read(terminal, 1000)
    os.write(terminal, key.encode() + b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    shown += os.read(terminal, 1000)
    os.close(terminal)
    assert shown.decode().split() == ["Enter", "unlock", "key:"]
    assert state(daemon) == "active"


def test_an_unlock_key_is_in_no_log_no_audit_no_command_line_and_not_in_the_store(daemon):
    first = autolocked(daemon)
    control_killed(daemon)
    daemon.cli("swarm", "unlock", input=first.encode())
    second = daemon.out("swarm", "unlock-key", "--rotate", "-q")
    commands = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in daemon.pids())
    audit = daemon.out("audit", "--format", "json").encode()
    files = b"".join(path.read_bytes() for path in daemon.state.iterdir())
    assert daemon.end() == 0
    daemon.read_to_end()
    log = "".join(daemon.lines).encode()
    for key in (first, second):
        for where in (commands, audit, log, files):
            assert key.removeprefix("SWMKEY-1-").encode() not in where


def test_who_has_seen_the_unlock_key_and_who_unlocked_is_in_the_audit(daemon):
    key = autolocked(daemon)
    control_killed(daemon)
    secretfs(daemon, "swarm", "unlock", stdin=WRONG.encode())
    daemon.cli("swarm", "unlock", input=key.encode())
    records = [json.loads(line) for line in daemon.out("audit", "--format", "json").splitlines()]
    acts = [(record["Action"], record["Detail"]) for record in records]
    assert acts == [
        ("swarm update", {"Autolock": True}),
        ("swarm unlock-key", {}),
        ("swarm lock", {}),
        ("swarm unlock-key", {}),
        ("swarm unlock", {"Refused": "wrong key"}),
        ("swarm unlock", {}),
    ]
    assert {record["UID"] for record in records} == {0}


def test_a_wrong_root_key_is_said_at_the_start_of_a_locked_daemon(idle_daemon):
    autolocked(idle_daemon.start())
    assert idle_daemon.end() == 0
    idle_daemon.key.write_bytes(bytes(32))
    idle_daemon.spawn()
    assert idle_daemon.ended() != 0
    idle_daemon.read_to_end()
    assert any(
        "start the daemon with the --root-key that this store was made with" in line for line in idle_daemon.lines
    )
