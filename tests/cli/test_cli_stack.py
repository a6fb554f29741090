"""``secretfs stack`` against the real API: what a deploy makes, changes, refuses, and takes back wherever it fails."""

import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import Ended, run
from real_daemon import RealDaemon, real_daemon

BASE = """\
services:
  web:
    image: web:1
    secrets: [a, {source: b, target: sub/b, uid: '7', mode: 0400}]
    configs: [c]
  db:
    image: db:1
    secrets: [outside]
secrets:
  a: {file: ./a}
  b: {environment: B_VALUE, labels: {k: v}}
  outside: {external: true}
configs:
  c: {content: "stage=${STAGE}\\n"}
"""
SIZE = "secret data must be larger than 0 and less than 512000 bytes"


class Stacks:
    """A daemon, a directory of files, and the command line between them."""

    def __init__(self, daemon: RealDaemon, files: Path) -> None:
        self.daemon = daemon
        self.host = daemon.host
        self.files = files

    def write(self, name: str, text: str) -> None:
        (self.files / name).write_text(text)

    def __call__(self, *words: str, stdin: bytes = b"", host: str = "") -> Ended:
        return run(host or self.host, [word.replace("{}", str(self.files)) for word in words], stdin)

    def done(self, *words: str, stdin: bytes = b"") -> list[str]:
        """What it printed, line by line; it must succeed."""
        ended = self(*words, stdin=stdin)
        assert ended.code == 0, ended.both
        return ended.out.splitlines()

    def everything(self) -> dict[str, object]:
        """All objects and services; of each value its newest number, of each config the data."""
        found: dict[str, object] = {}
        for noun in ("secret", "config", "service"):
            names = self.done(noun, "ls", "--format", "{{.Name}}")
            shown = json.loads(self(noun, "inspect", *names).out) if names else []
            found[noun] = {each["Spec"]["Name"]: each["Spec"] for each in shown}
        for name in self.done("secret", "ls", "--format", "{{.Name}}"):
            found[f"value of {name}"] = self._value_of(name)
        return found

    def _value_of(self, name: str) -> str:
        """Which of the values that the tests know it has: an update with that one changes nothing."""
        for value in (b"one", b"two", b"a value", b"another", b"out"):
            ended = self("secret", "update", name, "-", stdin=value)
            if "has this value already" in ended.err:
                return value.decode()
            self("secret", "rollback", name, str(int(ended.out) - 1))
        raise AssertionError(name)


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stacks]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a").write_bytes(b"one")
    (files / "app.yml").write_text(BASE)
    monkeypatch.setenv("B_VALUE", "a value")
    monkeypatch.setenv("STAGE", "prod")
    with real_daemon(tmp_path) as daemon:
        yield Stacks(daemon, files)


@pytest.fixture
def deployed(stacks: Stacks) -> Stacks:
    stacks.done("secret", "create", "outside", "-", stdin=b"out")
    stacks.done("stack", "deploy", "-c", "{}/app.yml", "st")
    return stacks


def test_a_deploy_makes_what_the_file_says(deployed: Stacks) -> None:
    found = deployed.everything()
    assert set(found["secret"]) == {"outside", "st_a", "st_b"}
    assert found["secret"]["st_b"]["Labels"] == {"k": "v", "com.docker.stack.namespace": "st"}
    assert (found["value of st_a"], found["value of st_b"]) == ("one", "a value")
    assert found["config"]["st_c"]["Data"] == "c3RhZ2U9cHJvZAo="
    web = found["service"]["st_web"]["TaskTemplate"]["ContainerSpec"]
    assert web["Image"] == "web:1"
    files = {each["SecretName"]: each["File"] for each in web["Secrets"]}
    assert files["st_b"] == {"Name": "sub/b", "UID": "7", "GID": "0", "Mode": 0o400}
    assert files["st_a"] == {"Name": "a", "UID": "0", "GID": "0", "Mode": 0o444}
    assert found["service"]["st_db"]["TaskTemplate"]["ContainerSpec"]["Secrets"][0]["SecretName"] == "outside"


def test_what_is_done_is_said_as_docker_says_it(stacks: Stacks) -> None:
    stacks.done("secret", "create", "outside", "-", stdin=b"out")
    lines = stacks.done("stack", "deploy", "-c", "{}/app.yml", "st")
    assert lines == [
        "Creating secret st_a",
        "Creating secret st_b",
        "Creating config st_c",
        "Creating service st_db",
        "Creating service st_web",
    ]
    stacks.write("a", "two")
    again = stacks.done("stack", "deploy", "-c", "{}/app.yml", "st")
    assert [re.sub(r"id: \w{25}", "id: …", line) for line in again] == [
        "Updating service st_db (id: …)",
        "Updating service st_web (id: …)",
        "Updating secret st_a",
    ]
    assert stacks.done("stack", "deploy", "-q", "-c", "{}/app.yml", "st") == []


def test_docker_s_flags_are_taken(deployed: Stacks) -> None:
    flags = ("--detach", "--with-registry-auth", "--resolve-image", "never", "--quiet")
    assert deployed.done("stack", "up", *flags, "--compose-file={}/app.yml", "st") == []


def test_the_same_again_changes_no_value(deployed: Stacks) -> None:
    deployed.done("stack", "deploy", "-c", "{}/app.yml", "st")
    for noun, name in (("secret", "st_a"), ("secret", "st_b"), ("config", "st_c")):
        assert deployed.done(noun, "versions", "-q", name) == ["1"]


def test_changed_content_is_a_new_version_and_labels_are_replaced(
    deployed: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B_VALUE", "another")
    monkeypatch.setenv("STAGE", "test")
    deployed.write("app.yml", BASE.replace("labels: {k: v}", "labels: {l: w}"))
    deployed.done("stack", "deploy", "-c", "{}/app.yml", "st")
    found = deployed.everything()
    assert found["value of st_b"] == "another"
    assert found["secret"]["st_b"]["Labels"] == {"l": "w", "com.docker.stack.namespace": "st"}
    assert found["config"]["st_c"]["Data"] == "c3RhZ2U9dGVzdAo="


def test_who_may_attach_is_left_as_it_was(deployed: Stacks) -> None:
    deployed.done("service", "update", "--allow-uid", "1000", "--on-change", "signal:HUP", "st_web")
    deployed.done("stack", "deploy", "-c", "{}/app.yml", "st")
    spec = deployed.everything()["service"]["st_web"]
    assert (spec["Secretfs"]["AllowUIDs"], spec["Secretfs"]["OnChange"]) == ([1000], "signal:HUP")


def test_prune_removes_services_that_the_files_do_not_have(deployed: Stacks) -> None:
    deployed.write("app.yml", BASE.replace("  db:\n    image: db:1\n    secrets: [outside]\n", ""))
    deployed.done("stack", "deploy", "-c", "{}/app.yml", "st")
    assert set(deployed.everything()["service"]) == {"st_db", "st_web"}
    assert "Removing service st_db" in deployed.done("stack", "deploy", "--prune", "-c", "{}/app.yml", "st")
    assert set(deployed.everything()["service"]) == {"st_web"}


def test_several_files_and_standard_input_are_one(stacks: Stacks) -> None:
    stacks.done("secret", "create", "outside", "-", stdin=b"out")
    over = b"services: {web: {image: 'web:2'}}\nsecrets: {a: {labels: {more: yes}}}"
    stacks.done("stack", "deploy", "-c", "{}/app.yml", "-c", "-", "st", stdin=over)
    found = stacks.everything()
    assert found["service"]["st_web"]["TaskTemplate"]["ContainerSpec"]["Image"] == "web:2"
    assert found["secret"]["st_a"]["Labels"]["more"] == "yes"
    assert stacks("stack", "deploy", "-c", "{}/app.yml,-", "st", stdin=over).code == 0


def test_a_dot_env_file_is_not_looked_at(stacks: Stacks, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks.write(".env", "NOWHERE=here\n")
    stacks.write("e.yml", "configs: {c: {content: 'x${NOWHERE}'}}")
    monkeypatch.chdir(stacks.files)
    ended = stacks("stack", "deploy", "-c", "e.yml", "st")
    assert ended.err.startswith("secretfs: warning: variable NOWHERE is not set: it is taken as empty\n")
    assert stacks.everything()["config"]["st_c"]["Data"] == "eA=="


def test_a_variable_that_is_not_set_is_said_also_where_its_emptiness_is_refused(stacks: Stacks) -> None:
    ended = stacks("stack", "deploy", "-c", "-", "st", stdin=b"secrets:\n  a:\n    file: ${NOWHERE}\n")
    assert (ended.code, ended.err.splitlines()) == (1, [
        "secretfs: warning: variable NOWHERE is not set: it is taken as empty",
        "secretfs: hint: to say so: ${NOWHERE-}",
        "secretfs: error: stdin:3: secrets.a.file is empty",
    ])  # fmt: skip


# --- refused before anything is changed ---


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("", "", "service db: secret not found: outside"),
        ("./a", "./no", "failed to read secret st_a: error reading from {}/no: open {}/no: no such file or directory"),
        ("./a", ".", "failed to read secret st_a: error reading from {}: read {}: is a directory"),
        ("./a", "./empty", "failed to read secret st_a: error reading from {}/empty: data is empty"),
        ("./a", "./large", f"failed to read secret st_a: {SIZE}"),
        ("B_VALUE", "NO_VALUE", "failed to read secret st_b: environment variable NO_VALUE is not set"),
        ("B_VALUE", "NOTHING", f"failed to read secret st_b: {SIZE}"),
        ("secrets:\n  a", "secrts:\n  a", "{}/app.yml:9: top level: unknown key 'secrts', did you mean 'secrets'?"),
        ("uid:", "uuid:", "{}/app.yml:4: services.web.secrets.1: unknown key 'uuid', did you mean 'uid'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_before_anything_is_changed(
    stacks: Stacks, monkeypatch: pytest.MonkeyPatch, before: str, after: str, reason: str
) -> None:
    monkeypatch.setenv("NOTHING", "")
    stacks.write("empty", "")
    (stacks.files / "large").write_bytes(bytes(512_000))
    stacks.write("app.yml", BASE.replace(before, after) if before else BASE)
    ended = stacks("stack", "deploy", "-c", "{}/app.yml", "st")
    assert (ended.err.splitlines()[0], ended.code) == (
        f"secretfs: error: {reason.replace('{}', str(stacks.files))}",
        1,
    )
    assert stacks.everything() == {"secret": {}, "config": {}, "service": {}}


@pytest.mark.parametrize(
    ("words", "reason", "code"),
    [
        (["deploy", "st"], "Specify a Compose file (with --compose-file)", 2),
        (["config"], "Specify a Compose file (with --compose-file)", 2),
        (["config", "-c", "-", "-c", "-"], "standard input can be read once only", 2),
        (["config", "-c", "/nowhere.yml"], "open /nowhere.yml: no such file or directory", 1),
        (["config", "-c", "/"], "open /: is a directory", 1),
        (["deploy", "-c", "{}/app.yml", "a b"], "name must be valid as a DNS name component", 1),
        (["rm", " "], 'invalid stack name: " "', 1),
        (["services", ""], 'invalid stack name: ""', 1),
        (["ps", ""], 'invalid stack name: ""', 1),
        (["deploy", "-c", "{}/app.yml", ""], 'invalid stack name: ""', 1),
        (["services", "-f", "bogus=1", "st"], "invalid filter 'bogus'", 1),
        (["ps", "nope"], "nothing found in stack: nope", 1),
    ],
)
def test_a_wrong_command_line_is_refused(stacks: Stacks, words: list[str], reason: str, code: int) -> None:
    ended = stacks("stack", *words)
    assert (ended.err.splitlines()[0], ended.code) == (f"secretfs: error: {reason}", code)


def test_what_another_made_is_not_taken_over(stacks: Stacks) -> None:
    stacks.done("secret", "create", "st_a", "-", stdin=b"two")
    stacks.done("secret", "create", "outside", "-", stdin=b"out")
    before = stacks.everything()
    ended = stacks("stack", "deploy", "-c", "{}/app.yml", "st")
    assert ended.err.splitlines() == [
        "secretfs: error: secret st_a is there already, and is not of stack st",
        "secretfs: hint: to grant it as it is: external: true; else another name: for a",
    ]
    assert stacks.everything() == before


# --- taken back ---


class _Proxy(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Passes requests on, all but the one that changes something for the nth time."""

    daemon_threads = True
    target: str
    fails_at = 0
    hangs_at = 0
    changes = 0

    def __init__(self, path: str) -> None:
        super().__init__(path, _Passing)
        self.hanging = threading.Event()
        self.over = threading.Event()


class _Passing(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline()
        length = re.search(rb"Content-Length: (\d+)", head)
        body = self.rfile.read(int(length[1]) if length else 0)
        if not head.startswith(b"GET"):
            self.server.changes += 1
            if self.server.changes == self.server.fails_at:
                message = b'{"message":"no more"}'
                self.wfile.write(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%s" % (len(message), message))
                return
        hangs = not head.startswith(b"GET") and self.server.changes == self.server.hangs_at
        with socket.socket(socket.AF_UNIX) as onward:
            onward.connect(self.server.target)
            onward.sendall(head + body)
            while data := onward.recv(65536):
                if hangs:  # it is done, and nobody hears of it
                    self.server.hanging.set()
                    self.server.over.wait(20)
                    return
                self.wfile.write(data)


@contextmanager
def proxy_of(stacks: Stacks) -> Iterator[tuple[str, _Proxy]]:
    """A host that is the daemon, but for what the proxy is told."""
    path = str(stacks.files.parent / "proxy.sock")
    with _Proxy(path) as proxy:
        proxy.target = stacks.host.removeprefix("unix://")
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"unix://{path}", proxy
        finally:
            proxy.over.set()
            proxy.shutdown()
            thread.join()
            Path(path).unlink()


@pytest.mark.parametrize("at", range(1, 6))
def test_a_first_deploy_that_fails_leaves_nothing_behind(stacks: Stacks, at: int) -> None:
    stacks.done("secret", "create", "outside", "-", stdin=b"out")
    before = stacks.everything()
    with proxy_of(stacks) as (host, proxy):
        proxy.fails_at = at
        ended = stacks("stack", "deploy", "-c", "{}/app.yml", "st", host=host)
        assert proxy.changes >= at
    assert ended.code == 1
    assert re.search(r"^secretfs: error: failed to create \w+ st_\w+: no more$", ended.err, re.MULTILINE)
    assert ended.err.count("taken back") == at - 1
    assert stacks.everything() == before


@pytest.mark.parametrize("at", range(1, 8))
def test_a_later_deploy_that_fails_leaves_all_as_it_was(
    deployed: Stacks, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    before = deployed.everything()
    monkeypatch.setenv("B_VALUE", "another")
    monkeypatch.setenv("STAGE", "test")
    deployed.write("a", "two")
    text = BASE.replace("labels: {k: v}", "labels: {l: w}").replace("image: web:1", "image: web:2")
    deployed.write("app.yml", text.replace("  outside:", "  new: {file: ./a}\n  outside:"))
    with proxy_of(deployed) as (host, proxy):
        proxy.fails_at = at
        ended = deployed("stack", "deploy", "-c", "{}/app.yml", "st", host=host)
        assert proxy.changes >= at
    assert ended.code == 1, ended.both
    assert ended.err.count("taken back") == at - 1
    assert deployed.everything() == before


@pytest.mark.parametrize(("at", "taken_back"), [(1, 1), (3, 3), (5, 5), (6, 6), (7, 6)])  # the 6th changes nothing
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_deploy_takes_back_what_nobody_heard_of_too(
    deployed: Stacks, at: int, taken_back: int, number: signal.Signals
) -> None:
    before = deployed.everything()
    deployed.write("a", "two")
    text = BASE.replace("labels: {k: v}", "labels: {l: w}").replace("services:", "services:\n  more: {image: x}")
    deployed.write("app.yml", text.replace("  outside:", "  new: {file: ./a}\n  outside:"))
    program = [
        sys.executable,
        "-m",
        "secretfs.cli.main",
        "stack",
        "deploy",
        "-c",
        str(deployed.files / "app.yml"),
        "st",
    ]
    with proxy_of(deployed) as (host, proxy):
        proxy.hangs_at = at
        with subprocess.Popen(program, env={**os.environ, "SECRETFS_HOST": host}, stderr=subprocess.PIPE) as deploy:
            assert proxy.hanging.wait(20)
            deploy.send_signal(number)
            assert deploy.wait(20) == 130
            assert deploy.stderr
            assert deploy.stderr.read().count(b"taken back") == taken_back
    assert deployed.everything() == before


def test_an_unknown_owner_is_refused_by_the_daemon_and_all_is_taken_back(stacks: Stacks) -> None:
    stacks.done("secret", "create", "outside", "-", stdin=b"out")
    before = stacks.everything()
    stacks.write("app.yml", BASE.replace("uid: '7'", "uid: nosuchuser"))
    ended = stacks("stack", "deploy", "-c", "{}/app.yml", "st")
    assert "failed to create service st_web: unknown user 'nosuchuser'" in ended.err
    assert stacks.everything() == before


# --- lists and removal ---


def test_stacks_their_services_and_tasks_are_listed(deployed: Stacks) -> None:
    deployed.done("stack", "deploy", "-c", "-", "other", stdin=b"services: {w: {image: x}}")
    assert deployed.done("stack", "ls") == ["NAME      SERVICES", "other     1", "st        2"]
    assert deployed.done("stack", "ls", "--format", "{{.Name}}={{.Services}}") == ["other=1", "st=2"]
    assert deployed.done("stack", "ls", "--format", "json") == [
        '{"Name":"other","Services":"1"}',
        '{"Name":"st","Services":"2"}',
    ]
    shown = ("stack", "services", "--format", "{{.Name}}")
    assert deployed.done(*shown, "st") == ["st_db", "st_web"]
    assert deployed.done(*shown, "--filter", "name=st_w", "st") == ["st_web"]
    assert len(deployed.done("stack", "services", "-q", "st")) == 2
    dockers = "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}{{.Ports}}"
    assert deployed.done("stack", "services", "--format", dockers, "st") == [
        "st_db replicated 0/0 db:1",
        "st_web replicated 0/0 web:1",
    ]
    task = deployed.daemon.attach("st_web")
    assert deployed.done("stack", "ps", "-q", "st") == [task]
    assert deployed.done("stack", "ps", "--format", "{{.Service}} {{.Secrets}}", "st") == [
        "st_web st_a:1->a, st_b:1->sub/b"
    ]
    assert deployed("stack", "ps", "--filter", "name=other", "st").code == 1
    ended = deployed("stack", "services", "nope")
    assert (ended.out, ended.err, ended.code) == ("", "secretfs: Nothing found in stack: nope\n", 0)


def test_stacks_are_removed_and_what_is_external_stays(deployed: Stacks) -> None:
    deployed.done("stack", "deploy", "-c", "-", "other", stdin=b"services: {w: {image: x}}")
    assert deployed.done("stack", "rm", "st", "other") == [
        "Removing service st_db",
        "Removing service st_web",
        "Removing secret st_a",
        "Removing secret st_b",
        "Removing config st_c",
        "Removing service other_w",
    ]
    assert set(deployed.everything()["secret"]) == {"outside"}
    ended = deployed("stack", "down", "st")
    assert (ended.out, ended.err, ended.code) == ("", "secretfs: Nothing found in stack: st\n", 0)


def test_what_another_service_uses_stays_and_is_said(deployed: Stacks) -> None:
    deployed.done("service", "create", "--secret", "st_a", "mine")
    ended = deployed("stack", "rm", "st")
    assert ended.code == 1
    assert ended.err.splitlines() == [
        "secretfs: error: failed to remove secret st_a: secret 'st_a' is in use by the following service: mine",
        "secretfs: error: failed to remove some resources from stack: st",
    ]
    assert set(deployed.everything()["secret"]) == {"outside", "st_a"}


def test_config_prints_what_can_be_deployed(stacks: Stacks) -> None:
    stacks.write("over.yml", "services: {web: {ports: ['80:80']}}")
    ended = stacks("stack", "config", "-c", "{}/app.yml", "-c", "{}/over.yml", host="unix:///nowhere")
    assert ended.code == 0
    assert f"    file: {stacks.files}/a\n" in ended.out
    assert "      mode: 0400\n" in ended.out
    assert "stage=prod" in ended.out
    raw = stacks("stack", "config", "--skip-interpolation", "-c", "{}/app.yml").out
    assert "stage=${STAGE}" in raw
    stacks.done("secret", "create", "outside", "-", stdin=b"out")
    stacks.done("stack", "deploy", "-c", "-", "st", stdin=ended.out.encode())
    assert stacks.everything()["config"]["st_c"]["Data"] == "c3RhZ2U9cHJvZAo="


def test_what_has_no_use_is_named_once(stacks: Stacks) -> None:
    text = b"services: {a: {ports: ['1'], environment: {P: q}}, b: {ports: ['2'], image: i, x-a: b}}"
    ended = stacks("stack", "deploy", "-c", "-", "st", stdin=text)
    assert ended.err == "secretfs: note: Ignoring unsupported options: environment, ports\n"


def test_a_target_that_no_task_can_have_is_a_warning(stacks: Stacks) -> None:
    grants = "{source: c, target: /etc/c}, {source: c, target: /run/configs/d}"
    text = f"services: {{w: {{configs: [{grants}]}}}}\nconfigs: {{c: {{content: x}}}}"
    ended = stacks("stack", "deploy", "-q", "-c", "-", "st", stdin=text.encode())
    told = "service w: config target '/etc/c' is absolute: a task can have targets below /run/configs/ only"
    assert (ended.code, ended.err) == (0, f"secretfs: warning: {told}\n")


def test_a_line_end_in_a_file_is_warned_of_once(stacks: Stacks) -> None:
    stacks.write("a", "one line\n")
    stacks.write("app.yml", "secrets: {a: {file: ./a}}")
    first = stacks("stack", "deploy", "-c", "{}/app.yml", "st")
    assert "the value of st_a ends with a newline, which is part of it" in first.err
    assert f"secretfs: hint: without: printf %s VALUE >{stacks.files}/a\n" in first.err
    assert stacks("stack", "deploy", "-c", "{}/app.yml", "st").err == ""
