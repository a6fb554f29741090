import socket

import pytest

DAEMON_HINT = "secretfs: hint: look at the daemon's log"
START_HINT = "secretfs: hint: is it running? start it with 'secretfs daemon', or name its socket with --host"
NONSENSE = "secretfs: error: the daemon's answer makes no sense: are secretfs run and the daemon of one version?"


def test_no_daemon_at_all(secretfs_run, tmp_path):
    (tmp_path / "empty").mkdir()
    secretfs_run.daemon.host = f"unix://{tmp_path}/empty/api.sock"
    error = f"secretfs: error: no daemon is listening on {tmp_path}/empty/attach.sock"
    assert secretfs_run.refusal() == (125, [error, START_HINT])


def test_a_socket_that_nobody_listens_on(secretfs_run, tmp_path):
    (tmp_path / "stale").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
        stale.bind(str(tmp_path / "stale/attach.sock"))
    secretfs_run.daemon.host = f"unix://{tmp_path}/stale/api.sock"
    error = f"secretfs: error: no daemon is listening on {tmp_path}/stale/attach.sock"
    assert secretfs_run.refusal() == (125, [error, START_HINT])


def test_a_socket_of_another_kind(secretfs_run, tmp_path):
    (tmp_path / "other").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(tmp_path / "other/attach.sock"))
        other.listen()
        secretfs_run.daemon.host = f"unix://{tmp_path}/other/api.sock"
        error = f"cannot connect to {tmp_path}/other/attach.sock: Protocol wrong type for socket"
        assert secretfs_run.refusal() == (125, [f"secretfs: error: {error}"])


def test_a_refusal_before_the_request_is_read_reaches_the_user(secretfs_run, daemon):
    daemon.refusal = "uid 4321 may not attach tasks: only root may"
    assert secretfs_run.refusal() == (125, [f"secretfs: error: {daemon.refusal}"])
    assert daemon.requests == []


def test_a_refusal_of_the_request_reaches_the_user(secretfs_run, daemon):
    daemon.answer = b'{"Error": "secret not found: my.secret"}'
    assert secretfs_run.refusal() == (125, ["secretfs: error: secret not found: my.secret"])


def test_a_refusal_after_the_mount_reaches_the_user(secretfs_run, daemon):
    daemon.word = b'{"Error": "task was detached"}'
    assert secretfs_run.refusal() == (125, ["secretfs: error: task was detached"])


def test_without_the_word_the_program_does_not_start(secretfs_run, daemon):
    daemon.word = b'{"Go": false}'
    assert secretfs_run.refusal() == (125, ["secretfs: error: the daemon did not let the program start"])


@pytest.mark.parametrize("step", ["answer", "word"])
def test_a_daemon_that_ends(secretfs_run, daemon, step):
    setattr(daemon, step, b"")
    assert secretfs_run.refusal() == (125, ["secretfs: error: the daemon ended the connection", DAEMON_HINT])


@pytest.mark.parametrize("answer", [b"\xff", b"[]", b'{"Files": []', b'{"Task": "x"}', b'{"Files": 1}', b"[" * 9999])
def test_an_answer_that_is_none(secretfs_run, daemon, answer):
    daemon.answer = answer
    assert secretfs_run.refusal() == (125, [NONSENSE])
    assert daemon.messages() == [b""]


def test_an_answer_without_a_tree(secretfs_run, daemon):
    daemon.hide()
    assert secretfs_run.refusal() == (125, [NONSENSE])


def test_a_target_directory_that_is_a_file(secretfs_run, daemon, tmp_path):
    (tmp_path / "file").write_text("x")
    place = str(tmp_path / "file")
    error = f"secretfs: error: cannot make the target directory {place}: a file is in the way"
    hint = "secretfs: hint: choose another directory with --target-dir"
    assert secretfs_run.refusal("--target-dir", place) == (125, [error, hint])
    assert secretfs_run.refusal("--target-dir", f"{place}/below") == (
        125,
        [error.replace(place, f"{place}/below"), hint],
    )
    assert daemon.messages(2) == [b"", b""]


def test_a_target_directory_that_cannot_be_made(secretfs_run):
    code, lines = secretfs_run.refusal("--target-dir", "/proc/none")
    assert code == 125
    assert lines == [
        "secretfs: error: cannot make the target directory /proc/none: No such file or directory",
        "secretfs: hint: choose another directory with --target-dir",
    ]


@pytest.mark.parametrize("given", ["relative", "/a/../b", "/"])
def test_a_target_directory_that_cannot_be_one(secretfs_run, daemon, given):
    code, lines = secretfs_run.refusal("--target-dir", given)
    assert code == 2
    assert lines[0].startswith(f"secretfs: error: invalid target directory {given!r}: ")
    assert daemon.pids == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--user", "no-such-user"], "user 'no-such-user' not found on this host"),
        (["--user", "root:no-such-group"], "group 'no-such-group' not found on this host"),
        (["--user", "4000000"], "user 4000000 is not in this host's user database, so its group is not known"),
    ],
)
def test_a_user_that_this_host_does_not_know(secretfs_run, daemon, options, error):
    code, lines = secretfs_run.refusal(*options)
    assert (code, lines[0]) == (125, f"secretfs: error: {error}")
    assert daemon.pids == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--user", ""], "invalid user ''"),
        (["--user", "root:"], "invalid user 'root:'"),
        (["--secret", "source=a,mode=440"], 'invalid argument "source=a,mode=440" for "--secret" flag: '),
        (["--secret", "source=a,colour=red"], 'invalid argument "source=a,colour=red" for "--secret" flag: '),
        (["--until", "dawn"], "argument --until: invalid choice: 'dawn'"),
        (["--nonsense"], "unknown flag: --nonsense"),
    ],
)
def test_a_wrong_command_line(secretfs_run, daemon, options, error):
    code, lines = secretfs_run.refusal(*options)
    assert code == 2
    assert lines[0].startswith(f"secretfs: error: {error}")
    assert daemon.pids == []


@pytest.mark.parametrize("words", [(), ("--",)])
def test_no_program(secretfs_run, words):
    result = secretfs_run(*words)
    assert result.returncode == 2
    assert result.stderr.startswith("secretfs: error: a program is required: secretfs run [OPTIONS] -- CMD [ARG...]\n")


def test_a_program_that_is_not_there(secretfs_run, daemon):
    result = secretfs_run("--", "no-such-program")
    assert result.returncode == 127
    assert result.stderr.splitlines() == [
        "secretfs: error: program 'no-such-program' not found in PATH",
        "secretfs: hint: give its path, or set PATH",
    ]
    assert daemon.pids == []


def test_a_program_that_cannot_be_run(secretfs_run, daemon, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    result = secretfs_run("--", str(program))
    assert result.returncode == 126
    assert result.stderr.splitlines() == [
        f"secretfs: error: cannot run {program}: it is not executable",
        f"secretfs: hint: chmod +x {program}",
    ]
    assert daemon.pids == []


def test_a_program_that_the_kernel_refuses(secretfs_run, tmp_path):
    program = tmp_path / "program"
    program.write_text("no magic\n")
    program.chmod(0o755)
    result = secretfs_run("--", str(program))
    error = f"secretfs: error: cannot run {program}: it is no program, and no script that begins with #!\n"
    assert (result.returncode, result.stderr) == (126, error)


def test_help_shows_an_example(secretfs_run):
    result = secretfs_run("--help", options=[])
    assert result.returncode == 0
    assert "secretfs run --service web --user nobody --file-vars -- env" in result.stdout
