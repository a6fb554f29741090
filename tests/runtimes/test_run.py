import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from secretfs.errors import UsageError
from secretfs.linux import namespaces
from secretfs.runtimes.run import absolute

STATUS = ["grep", "-E", "^(Sig|Shd|Cap|Groups|Uid|Gid|Umask)", "/proc/self/status"]


def test_the_program_sees_its_files_as_granted(secretfs_run):
    path = secretfs_run.target_dir / "my_secret"
    result = secretfs_run("--", "sh", "-c", f"stat -c '%u %g %a %s' {path}; cat {path} {path.parent}/sub/other")
    assert result.stdout == "103 104 440 16\nThis is a secretx"
    assert (result.returncode, result.stderr) == (0, "")


def test_nobody_else_sees_them(secretfs_run):
    result = secretfs_run("--", "sh", "-c", "readlink /proc/self/ns/mnt")
    assert result.stdout.strip() != os.readlink("/proc/self/ns/mnt")
    assert list(secretfs_run.target_dir.iterdir()) == []
    assert str(secretfs_run.target_dir) not in Path("/proc/self/mountinfo").read_text()


def test_all_other_namespaces_are_the_host_s(secretfs_run):
    kinds = ["user", "pid", "net", "ipc", "uts", "cgroup"]
    result = secretfs_run("--", "readlink", *(f"/proc/self/ns/{kind}" for kind in kinds))
    assert result.stdout.split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]


def test_the_program_is_the_process_that_asked(secretfs_run, daemon):
    with subprocess.Popen(secretfs_run.argv("--", "sh", "-c", "echo $$; exec cat"), stdin=-1, stdout=-1) as task:
        pid = int(task.stdout.readline())
        assert pid == task.pid == daemon.pids[0]
        assert daemon.mnt_ns == namespaces.ns_inode(pid, "mnt")
        task.stdin.close()


def test_the_daemon_is_asked_for_what_was_typed(secretfs_run, daemon):
    options = ["--service", "web", "--secret", "source=a,target=b,uid=redis,gid=7,mode=0400,version=3", "--config", "c"]
    secretfs_run("--until", "leader", "--", "true", options=[*options, "--target-dir", f"{daemon.directory}//t/./"])
    assert daemon.requests == [
        {
            "Service": "web",
            "Secrets": [{"source": "a", "target": "b", "uid": "redis", "gid": "7", "mode": 0o400, "version": 3}],
            "Configs": [{"source": "c", "target": "c", "uid": "0", "gid": "0", "mode": 0o444, "version": None}],
            "UntilLeader": True,
            "TargetDir": f"{daemon.directory}/t",
        }
    ]
    assert [message.replace(b" ", b"") for message in daemon.messages()] == [b'{"Mounted":true}']


def test_what_is_not_typed_has_its_default(secretfs_run, daemon):
    secretfs_run("--", "true", options=["--secret", "a", "--target-dir", str(secretfs_run.target_dir)])
    assert daemon.requests[0]["Service"] is None
    assert daemon.requests[0]["UntilLeader"] is False
    assert daemon.requests[0]["Secrets"] == [
        {"source": "a", "target": "a", "uid": "0", "gid": "0", "mode": 0o444, "version": None}
    ]


@pytest.mark.parametrize("code", [0, 1, 2, 42, 125, 126, 127, 255])
def test_the_exit_code_is_the_program_s(secretfs_run, code):
    assert secretfs_run("--", "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ])
def test_a_signal_ends_the_program_as_it_would_without_us(secretfs_run, number):
    assert secretfs_run("--", "sh", "-c", f"kill -{int(number)} $$").returncode == -number


def test_words_after_the_program_are_its_own(secretfs_run):
    assert secretfs_run("--", "printf", "%s,", "--", "-H", "--user", "").stdout == "--,-H,--user,,"
    assert secretfs_run("printf", "%s,", "--file-vars").stdout == "--file-vars,"


def test_standard_input_is_the_program_s(secretfs_run):
    assert secretfs_run("--", "cat", input="hello").stdout == "hello"


def test_no_descriptor_is_left_behind(secretfs_run):
    plain = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True).stdout
    assert secretfs_run("--", "ls", "/proc/self/fd").stdout == plain


def test_a_descriptor_of_the_caller_s_is_passed_on(secretfs_run):
    reader, writer = os.pipe()
    result = secretfs_run("--", "sh", "-c", f"echo through > /proc/self/fd/{writer}", pass_fds=[writer])
    os.close(writer)
    with open(reader) as pipe:
        assert (result.returncode, pipe.read()) == (0, "through\n")


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT, signal.SIGHUP)])
def test_signals_ids_capabilities_and_umask_are_untouched(secretfs_run, ignored):
    def prepare():
        os.umask(0o077)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    plain = subprocess.run(STATUS, capture_output=True, text=True, preexec_fn=prepare).stdout
    assert secretfs_run("--", *STATUS, preexec_fn=prepare).stdout == plain
    assert stat.S_IMODE(secretfs_run.target_dir.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "extra", [{}, {"LC_CTYPE": "C"}, {"LC_CTYPE": "C.UTF-8"}, {"LC_ALL": "C"}, {"LANG": "C.UTF-8"}, {"X": "\udcff=1"}]
)
def test_the_environment_is_untouched(secretfs_run, extra):
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), "A_FILE": "mine", **extra}
    result = secretfs_run("--", "env", "-0", env=env, text=False)
    expected = {f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in env.items()}
    assert set(result.stdout.removesuffix(b"\0").split(b"\0")) == expected


def test_the_working_directory_is_kept(secretfs_run, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    assert secretfs_run("--", "pwd", cwd=tmp_path, env=env).stdout == f"{tmp_path}\n"


@pytest.mark.parametrize(("options", "expected"), [([], "1"), (["--allow-new-privileges"], "0")])
def test_new_privileges_need_permission(secretfs_run, options, expected):
    result = secretfs_run(*options, "--", "grep", "NoNewPrivs", "/proc/self/status")
    assert result.stdout.split() == ["NoNewPrivs:", expected]


def test_each_file_has_its_variable(secretfs_run, daemon):
    daemon.files.append({"Kind": "config", "Name": "nginx.conf", "Target": "etc/nginx.conf"})
    result = secretfs_run("--file-vars", "--", "sh", "-c", "echo $MY_SECRET_FILE $NGINX_CONF_FILE; cat $MY_SECRET_FILE")
    directory = secretfs_run.target_dir
    paths = f"{directory}/my_secret {directory.parent}/configs/etc/nginx.conf"
    assert result.stdout == f"{paths}\nThis is a secret"


def test_two_files_of_one_variable_are_refused(secretfs_run, daemon):
    daemon.files = [
        {"Kind": "secret", "Name": "a", "Target": "x.y"},
        {"Kind": "secret", "Name": "a", "Target": "x-y"},
    ]
    directory = secretfs_run.target_dir
    assert secretfs_run.refusal("--file-vars") == (
        125,
        [
            f"secretfs: error: the variable X_Y_FILE would stand for both {directory}/x.y and {directory}/x-y",
            "secretfs: hint: give one of them another target, or leave out --file-vars",
        ],
    )
    assert daemon.messages() == [b""]


def test_configs_are_mounted_beside_the_secrets(secretfs_run, daemon, tmp_path):
    (tmp_path / "configs").mkdir()
    daemon.show(tmp_path / "configs", {"app.conf": (b"[app]", 0, 0, 0o444)})
    assert secretfs_run("--", "cat", f"{secretfs_run.target_dir.parent}/configs/app.conf").stdout == "[app]"


def test_what_the_host_mounts_later_arrives_and_nothing_leaves(secretfs_run):
    script = 'mount --make-rshared / && "$@"; exit $?'
    task = secretfs_run.argv("--", "cat", "/proc/self/mountinfo")
    wrapped = ["unshare", "--mount", "sh", "-c", script, "sh", *task]
    lines = subprocess.run(wrapped, capture_output=True, text=True).stdout.splitlines()
    root = next(line for line in lines if line.split()[4] == "/")
    assert " master:" in root
    assert " shared:" not in "".join(lines)


def test_a_directory_that_was_there_is_covered(secretfs_run):
    secretfs_run.target_dir.mkdir(parents=True)
    (secretfs_run.target_dir / "old").write_text("x")
    assert secretfs_run("--", "ls", str(secretfs_run.target_dir)).stdout == "my_secret\nsub\n"


def test_a_target_directory_behind_a_link_is_followed(secretfs_run, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    result = secretfs_run("--target-dir", str(tmp_path / "link"), "--", "cat", f"{tmp_path}/real/my_secret")
    assert result.stdout == "This is a secret"


def test_ctrl_c_while_the_daemon_is_silent_ends_us_like_any_program(secretfs_run, daemon):
    daemon.silent = True
    with subprocess.Popen(secretfs_run.argv("--", "true"), stderr=subprocess.PIPE, text=True) as task:
        assert daemon.asked.wait(30)
        task.send_signal(signal.SIGINT)
        assert (task.wait(), task.stderr.read()) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("/run/secrets", "/run/secrets"), ("//run//secrets/", "/run/secrets"), ("/a/./b", "/a/b"), ("/a b", "/a b")],
)
def test_a_target_directory_is_made_plain(given, meant):
    assert absolute(given) == meant


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "it is not absolute"),
        ("secrets", "it is not absolute"),
        ("./secrets", "it is not absolute"),
        ("/run/../etc", "it has a '..' in it"),
        ("/", "it would hide everything else"),
        ("///.", "it would hide everything else"),
    ],
)
def test_a_target_directory_that_cannot_be_one_is_refused(given, reason):
    with pytest.raises(UsageError) as caught:
        absolute(given)
    assert str(caught.value) == f"invalid target directory {given!r}: {reason}"
    assert caught.value.__notes__ == ["give a path that begins with /, as in --target-dir /run/secrets"]


def test_little_is_imported_before_the_program_starts():
    heavy = {
        "contextlib",
        "typing",
        "trio",
        "msgspec",
        "h11",
        "cryptography",
        "dataclasses",
        "inspect",
        "logging",
        "subprocess",
        "http.client",
        "socket",
        "signal",
        "argparse",
        "json",
        "re",
        "enum",
    }
    script = (
        "import sys; before = set(sys.modules)\n"
        "import secretfs.cli.main, secretfs.cli.run, secretfs.cli.host, secretfs.runtimes.run\n"
        "from secretfs.cli.attaching import _grant\n"
        "_grant('source=a,uid=1', 'secret')\n"
        "print(*(set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert heavy & set(result.stdout.split()) == set()
