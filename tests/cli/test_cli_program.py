"""The program as a process: help, what it imports, how it ends."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended, run
from fake_daemon import FakeDaemon
from real_daemon import real_daemon

import secretfs
from secretfs.cli.main import MODULES
from secretfs.cli.parser import CommandParser

SOURCE = str(Path(secretfs.__file__).parent.parent)
PROGRAM = [sys.executable, "-m", "secretfs.cli.main"]
NOUNS = {
    "secret": ("create", "ls", "inspect", "rm", "update", "versions", "rollback", "prune"),
    "config": ("create", "ls", "inspect", "rm", "update", "versions", "rollback", "prune"),
    "service": ("create", "update", "ls", "inspect", "ps", "rm"),
    "stack": ("deploy", "config", "ls", "services", "ps", "rm"),
}
COMMANDS = ["", *NOUNS, *(f"{noun} {verb}" for noun, verbs in NOUNS.items() for verb in verbs), "ps", "detach", "audit"]
# What no listing may load: everybody waits for it at each command. It takes argparse and json, and what these take.
HEAVY = {"asyncio", "base64", "contextlib", "ctypes", "dataclasses", "datetime", "difflib", "http", "inspect"}
HEAVY |= {"locale", "logging", "msgspec", "pathlib", "selectors", "shutil", "socket", "subprocess", "textwrap", "trio"}
HEAVY |= {"typing", "urllib", "yaml"}


def program(daemon: FakeDaemon, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "SECRETFS_HOST": daemon.host}
    return subprocess.run([*PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=30, **options)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command or "secretfs")
def test_help_is_on_stdout_with_usage_a_line_a_command_and_examples(command: str) -> None:
    ended = run("unix:///nowhere", [*command.split(), "--help"])
    assert (ended.err, ended.code) == ("", 0)
    assert ended.out.startswith(f"usage: {' '.join(['secretfs', *command.split()])} ")
    assert "\nexamples:\n  " in ended.out
    assert run("unix:///nowhere", [*command.split(), "-h"]) == ended
    assert max(len(line) for line in ended.out.splitlines()) <= 100


def test_help_names_every_command_once() -> None:
    shown = run("unix:///nowhere", ["--help"]).out
    assert re.findall(r"^    (\w+) +\S", shown, re.MULTILINE) == list(MODULES)
    assert "None" not in shown


@pytest.mark.parametrize("words", [["--version"], ["-v"]])
def test_version_is_told(words: list[str]) -> None:
    ended = run("unix:///nowhere", words)
    assert (ended.both, ended.code) == ("secretfs 0.1.0\n", 0)


def test_examples_of_every_help_work_when_pasted(tmp_path: Path) -> None:
    """In a shell, one after another; the examples of run and daemon need a daemon with a file system."""
    shim = tmp_path / "secretfs"
    shim.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    shim.chmod(0o755)
    lines: dict[str, None] = {}
    for command in COMMANDS:
        _, _, shown = run("unix:///nowhere", [*command.split(), "--help"]).out.partition("\nexamples:\n")
        lines |= dict.fromkeys(line.strip() for line in shown.splitlines())
    removals = sorted((line for line in lines if " rm " in line), reverse=True)  # services before what they are granted
    endless = [line for line in lines if "--follow" in line]
    needing_tasks = [line for line in lines if "secretfs run" in line or "stack ps" in line]
    script = [line for line in lines if line not in [*removals, *endless, *needing_tasks]]
    script += ["secretfs service rm db", *removals]  # the examples leave db with a grant
    assert len(script) > 15
    (tmp_path / "compose.yml").write_text("services: {web: {secrets: [s]}}\nsecrets: {s: {file: ./secretfs}}\n")
    (tmp_path / "production.yml").write_text("secrets: {s: {labels: {stage: production}}}\n")
    with real_daemon(tmp_path) as daemon:
        environment = {**os.environ, "SECRETFS_HOST": daemon.host, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        shell = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True}
        done = subprocess.run(["sh", "-e"], input="\n".join(script), **shell)
        assert "error" not in done.stderr
        assert done.returncode == 0
        for line in endless:
            with subprocess.Popen(["sh", "-c", f"exec {line}"], env=environment, stdout=subprocess.PIPE) as shown:
                assert shown.stdout
                assert shown.stdout.readline()
                shown.send_signal(signal.SIGINT)
                assert shown.wait(30) == 130


@pytest.mark.parametrize("noun", ["secret", "config", "service", "stack"])
def test_listing_imports_little(daemon: FakeDaemon, noun: str) -> None:
    code = (
        f"import sys; before = set(sys.modules); from secretfs.cli.main import main; main(['{noun}', 'ls']);"
        "sys.stderr.write(' '.join(sorted(set(sys.modules) - before)))"
    )
    environment = {**os.environ, "SECRETFS_HOST": daemon.host}
    # No site-packages, as what they import at every start (coverage, an editable install) hides what we do.
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {SOURCE!r}); {code}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert done.stdout.startswith(("ID  ", "NAME  "))
    assert {"_socket", "json", "argparse"} <= loaded
    assert not HEAVY & loaded
    assert not [name for name in loaded if name.startswith(("secretfs.core", "secretfs.cli.template"))]


def test_only_the_command_that_is_run_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    begin = CommandParser.__init__

    def noted(parser: CommandParser, *words: object, **options: object) -> None:
        begin(parser, *words, **options)
        made.append(parser.prog)

    monkeypatch.setattr(CommandParser, "__init__", noted)
    assert run("unix:///nowhere", ["secret", "ls"]).code == 1
    assert made == ["secretfs", "secretfs secret", "secretfs secret ls"]


def test_installed_package_needs_no_import_hook() -> None:
    """One costs every start of Python 20 ms."""
    code = "import sys; print(*sys.meta_path, *sys.path_hooks)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert "__editable__" not in done.stdout


def test_reader_that_went_away_is_no_message(daemon: FakeDaemon) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "SECRETFS_HOST": daemon.host}
    done = subprocess.run([*PROGRAM, "secret", "ls"], env=environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.stderr, done.returncode) == (b"", 128 + signal.SIGPIPE)


def test_full_disk_under_the_output_is_said(daemon: FakeDaemon) -> None:
    environment = {**os.environ, "SECRETFS_HOST": daemon.host}
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, "secret", "ls"], env=environment, stdout=full, stderr=subprocess.PIPE)
    assert (done.stderr, done.returncode) == (
        b"secretfs: error: cannot write the output: no space left on device\n",
        1,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_crash(daemon: FakeDaemon, closed: str) -> None:
    environment = {**os.environ, "SECRETFS_HOST": daemon.host}
    line = f"{shlex.join(PROGRAM)} secret inspect nope {closed}"
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_quiet(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()
        environment = {**os.environ, "SECRETFS_HOST": f"unix://{tmp_path}/api.sock"}
        command, streams = [*PROGRAM, "secret", "ls"], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environment, **streams) as process, listener.accept()[0] as connection:
            connection.recv(10)  # it waits for the answer now
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    assert (out, err, process.returncode) == (b"", b"", 130)


def test_host_is_taken_before_and_after_the_noun_and_before_the_environment(daemon: FakeDaemon) -> None:
    for words in (
        ["-H", daemon.host, "secret", "ls"],
        [f"--host={daemon.host}", "secret", "ls"],
        ["secret", "-H", daemon.host, "ls"],
        ["secret", "ls", "--host", daemon.host],
        [f"-H{daemon.host}", "ps"],
    ):
        assert run("unix:///nowhere", words).code == 0
    assert len(daemon.requests) == 5


def test_text_that_is_not_utf_8_is_refused_and_shown(secretfs: Callable[..., Ended]) -> None:
    ended = secretfs("secret", "inspect", os.fsdecode(b"\xff"))
    assert (ended.out, ended.code) == ("[]\n", 1)
    assert "not found" in ended.err


def test_service_changed_meanwhile_is_said_with_what_to_do(daemon: FakeDaemon, secretfs: Callable[..., Ended]) -> None:
    secretfs("service", "create", "web")

    def change() -> None:
        for service in daemon.services.values():
            service["Version"]["Index"] += 1000

    daemon.before_update = change
    ended = secretfs("service", "update", "--label-add", "a=b", "web")
    hint = "somebody else has changed the service meanwhile: run the command again"
    assert ended.both == f"secretfs: error: update out of sequence\nsecretfs: hint: {hint}\n"
    assert ended.code == 1


def test_warnings_of_the_daemon_are_on_stderr(daemon: FakeDaemon, secretfs: Callable[..., Ended]) -> None:
    daemon.warnings = ["the tasks are not reached yet"]
    assert secretfs("service", "create", "web").err == "secretfs: warning: the tasks are not reached yet\n"
    ended = secretfs("service", "update", "web")
    assert (ended.out, ended.err) == ("web\n", "secretfs: warning: the tasks are not reached yet\n")


def test_update_keeps_what_it_does_not_know(daemon: FakeDaemon, secretfs: Callable[..., Ended]) -> None:
    secretfs("service", "create", "web")
    (service,) = daemon.services.values()
    service["Spec"] |= {"Novelty": {"a": [1]}, "TaskTemplate": {"ContainerSpec": {"Image": "x", "Secrets": None}}}
    secretfs("service", "update", "--label-add", "a=b", "web")
    (service,) = daemon.services.values()
    assert service["Spec"]["Novelty"] == {"a": [1]}
    assert service["Spec"]["TaskTemplate"] == {"ContainerSpec": {"Image": "x", "Secrets": [], "Configs": []}}


def test_tasks_are_detached_by_id_or_its_start(daemon: FakeDaemon, secretfs: Callable[..., Ended]) -> None:
    secretfs("service", "create", "web")
    first, second = daemon.attach("web"), daemon.attach("web")
    ended = secretfs("detach", first, second[:24] + "x", second)
    assert ended.both == f"{first}\nsecretfs: error: task {second[:24]}x not found\n{second}\n"
    assert daemon.tasks == {}
