"""Completion: what the parsers and the daemon say, and the three shells, each in person."""

import os
import pty
import select
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from fake_daemon import FakeDaemon
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.cli.completion import candidates
from secretfs.cli.main import MODULES, _parser

PROMPT = b"<ready>"
PATIENCE_SECONDS = 20


@pytest.fixture
def filled(daemon: FakeDaemon, secretfs: Callable[..., Ended]) -> FakeDaemon:
    for noun, name in (("secret", "my_secret"), ("secret", "other"), ("config", "site")):
        secretfs(noun, "create", name, "-", stdin=b"x")
    secretfs("service", "create", "web")
    secretfs("service", "create", "-l", "com.docker.stack.namespace=app", "app_db")
    return daemon


def found(secretfs: Callable[..., Ended], *words: str, shell: str = "fish") -> list[str]:
    ended = secretfs("__complete", shell, *words)
    assert (ended.err, ended.code) == ("", 0)
    return [line.partition("\t")[0] for line in ended.out.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["secret", "r"], ["rm", "rollback"]),
        (["secret", "rm", ""], ["my_secret", "other"]),
        (["secret", "rm", "other", ""], ["my_secret"]),
        (["secret", "inspect", "--pretty", "m"], ["my_secret"]),
        (["secret", "create", ""], []),
        (["secret", "create", "new", ""], [":files"]),
        (["secret", "create", "-l", "a=b", "new", ""], [":files"]),
        (["secret", "create", "new", "-", ""], []),
        (["secret", "ls", "--f"], ["--filter", "--format"]),
        (["secret", "ls", "--format", "x", "--f"], ["--filter"]),
        (["secret", "ls", "--filter", "x", "--f"], ["--filter", "--format"]),
        (["secret", "ls", "--format", ""], ["json"]),
        (["secret", "ls", "--format=j"], ["--format=json"]),
        (["secret", "ls", "-q", ""], []),
        (["config", "rm", ""], ["site"]),
        (["service", "update", "--secret-add", "o"], ["other"]),
        (["service", "update", "--secret-add", "source=o"], ["source=other"]),
        (["service", "update", "--secret-add", "target=o"], []),
        (["service", "update", "--config-rm=s"], ["--config-rm=site"]),
        (["service", "update", "--on-change", "s"], ["signal:"]),
        (["service", "update", "--allow-uid", "roo"], ["root"]),
        (["service", "ps", ""], ["app_db", "web"]),
        (["stack", "d"], ["deploy"]),
        (["stack", "rm", ""], ["app"]),
        (["stack", "deploy", "a"], ["app"]),
        (["stack", "deploy", "-c", ""], [":files"]),
        (["stack", "deploy", "--compose-file", "a", "--co"], ["--compose-file"]),
        (["run", "--service", ""], ["app_db", "web"]),
        (["run", "--until", ""], ["leader"]),
        (["run", "--target-dir", ""], [":directories"]),
        (["run", "--user", "root", ""], [":commands"]),
        (["run", "--", ""], [":commands"]),
        (["run", "--", "cat", ""], [":files"]),
        (["run", "cat", "--sec"], [":files"]),
        (["--host", "unix:///nowhere", "secret", "rm", ""], []),
        (["nonsense", ""], []),
        (["secret", "nonsense", ""], []),
        (["secret", "ls", "--nonsense", ""], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_the_last_word_is_completed(
    filled: FakeDaemon, secretfs: Callable[..., Ended], words: list[str], expected: list[str]
) -> None:
    assert found(secretfs, *words) == expected


def test_every_command_is_completed(secretfs: Callable[..., Ended]) -> None:
    assert found(secretfs, "") == list(MODULES)
    assert found(secretfs) == list(MODULES)


def test_tasks_are_told_apart(filled: FakeDaemon, secretfs: Callable[..., Ended]) -> None:
    task = filled.attach("web")
    assert secretfs("__complete", "zsh", "detach", "").out == f"{task}\tweb, pid 4711\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["secret", "ls", "--format", "="], ["json"]),
        (["secret", "ls", "--format", "=", "j"], ["json"]),
        (["secret", "ls", "--fo"], ["--format"]),
        (["service", "update", "--secret-add", "source", "=", "my"], ["my_secret"]),
        (["--host", "=", "unix", ":", "///nowhere", "secret", "rm", ""], []),
        (["service", "update", "--on-change", "signal", ":"], [""]),
    ],
    ids=str,
)
def test_bash_gets_what_follows_where_it_took_a_word_apart(
    filled: FakeDaemon, secretfs: Callable[..., Ended], words: list[str], expected: list[str]
) -> None:
    assert found(secretfs, *words, shell="bash") == expected


def test_no_daemon_is_no_message(tmp_path: Path, secretfs: Callable[..., Ended]) -> None:
    assert found(secretfs, "-H", f"unix://{tmp_path}/none", "secret", "rm", "") == []
    assert found(secretfs, "--host", "tcp://nonsense", "service", "rm", "") == []


_WORD = st.sampled_from(["secret", "rm", "run", "--", "-", "-H", "-qf", "--format=", "=", "", "x", "daemon", "--host"])


@settings(deadline=None)
@given(st.lists(_WORD | st.text(max_size=5), min_size=1, max_size=6))
def test_any_words_are_completed_with_what_they_begin(words: list[str]) -> None:
    os.environ["SECRETFS_HOST"] = "unix:///nowhere"
    for value, _ in candidates(_parser([]), words):
        assert value.startswith(words[-1]) or value in (":files", ":directories", ":commands")


# --- the shells ---


@pytest.fixture
def environment(filled: FakeDaemon, tmp_path: Path) -> dict[str, str]:
    """In PATH there is a secretfs, and the current directory has a file."""
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "secretfs"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m secretfs.cli.main "$@"\n')
    shim.chmod(0o755)
    (tmp_path / "value_of_a_file").write_text("from a file")
    found = {key: value for key, value in os.environ.items() if not key.startswith(("BASH", "PROMPT"))}
    paths = f"{tmp_path}/bin:{os.environ['PATH']}"
    return found | {"PATH": paths, "HOME": str(tmp_path), "TERM": "dumb", "SECRETFS_HOST": filled.host}


def typed(command: list[str], set_up: str, keys: list[str], environment: dict[str, str], directory: Path) -> str:
    """What a terminal shows when the keys are typed, each line after the prompt that the line before ended with."""
    master, terminal = pty.openpty()
    options = {"stdin": terminal, "stdout": terminal, "stderr": terminal, "env": environment, "cwd": directory}
    with subprocess.Popen(command, **options, start_new_session=True) as shell:
        os.close(terminal)
        try:
            shown = b""
            for line in (*set_up.splitlines(), *keys):
                os.write(master, line.encode() + b"\n")
                shown += _until_prompt(master)
        finally:
            shell.kill()
    os.close(master)
    return shown.decode(errors="replace")


def _until_prompt(master: int) -> bytes:
    seen = b""
    while not seen.endswith(PROMPT):
        ready, _, _ = select.select([master], [], [], PATIENCE_SECONDS)
        assert ready, f"no prompt after {seen.decode(errors='replace')}"
        seen += os.read(master, 65536)
    return seen


KEYS = [
    "secretfs sec\trm my_s\t",  # a command, and a name that the daemon has
    "secretfs secret create from_file value_\t",  # a file
    "secretfs service update --label-add completed=yes --secret-add source=oth\t web",
]


def test_bash_completes(environment: dict[str, str], filled: FakeDaemon, tmp_path: Path) -> None:
    set_up = "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; PS1='<re''ady>'\n"
    set_up += "source <(secretfs completion bash)"
    shown = typed(["bash", "--norc", "--noprofile", "-i"], set_up, KEYS, environment, tmp_path)
    _check(filled, shown)
    shown = typed(["bash", "--norc", "-i"], set_up, ["secretfs config ls --format=j\t"], environment, tmp_path)
    assert '"Name":"site"' in shown


def test_zsh_completes(environment: dict[str, str], filled: FakeDaemon, tmp_path: Path) -> None:
    set_up = "unset zle_bracketed_paste; unsetopt prompt_sp; PS1='<re''ady>'\nautoload -Uz compinit && compinit -u -D\n"
    set_up += "source <(secretfs completion zsh)"
    shown = typed(["zsh", "-f", "-i"], set_up, KEYS, environment, tmp_path)
    _check(filled, shown)
    shown = typed(["zsh", "-f", "-i"], set_up, ["secretfs config ls --format=j\t"], environment, tmp_path)
    assert '"Name":"site"' in shown


def _check(daemon: FakeDaemon, shown: str) -> None:
    assert daemon.values["from_file"] == b"from a file", shown
    assert sorted(item["Spec"]["Name"] for item in daemon.objects["secret"].values()) == ["from_file", "other"], shown
    service = next(each for each in daemon.services.values() if each["Spec"]["Name"] == "web")
    granted = service["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"]
    assert [grant["SecretName"] for grant in granted] == ["other"], shown


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secretfs secret rm m", ["my_secret"]),
        ("secretfs sec", ["secret\tcreate, show and remove secrets"]),
        ("secretfs secret create x value_", ["value_of_a_file"]),
        ("secretfs service update --secret-add=source=o", ["--secret-add=source=other"]),
        ("secretfs config rm ", ["site"]),
    ],
)
def test_fish_completes(environment: dict[str, str], tmp_path: Path, line: str, expected: list[str]) -> None:
    script = f"secretfs completion fish | source; complete -C {shlex.quote(line)}"
    command = ["fish", "--no-config", "-c", script]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert [line.rstrip() for line in done.stdout.splitlines()] == expected, done.stderr
