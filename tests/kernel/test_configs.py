"""Configs in a task: files at /run/configs, granted and taken away while it runs."""

import os

import pytest

pytestmark = pytest.mark.kernel

LARGEST = os.urandom(1_023_999)


def config(daemon, name: str, content: bytes) -> None:
    daemon.out("config", "create", name, "-", input=content)


def read(task, path: str):
    found = task.do("cat", path)
    return found if isinstance(found, str) and not _hex(found) else bytes.fromhex(found)


def _hex(text: str) -> bool:
    return all(char in "0123456789abcdef" for char in text)


def test_the_largest_config_arrives_byte_by_byte(shared_daemon, tmp_path):
    (tmp_path / "config").write_bytes(LARGEST)
    shared_daemon.out("config", "create", "largest", str(tmp_path / "config"))
    words = ["run", "--config", "source=largest,target=x", "--", "cmp", "/run/configs/x", str(tmp_path / "config")]
    shared_daemon.cli(*words)


def test_a_larger_one_is_refused(shared_daemon):
    done = shared_daemon.cli("config", "create", "larger", "-", input=LARGEST + b"x", check=False)
    assert done.returncode == 1
    assert done.stderr == b"secretfs: error: config data must be larger than 0 and less than 1024000 bytes\n"


def test_a_secret_and_a_config_may_have_one_target(shared_daemon):
    shared_daemon.secret("same", b"secret")
    config(shared_daemon, "same", b"config")
    task = shared_daemon.task("--secret", "same", "--config", "source=same,mode=0400,uid=7")
    assert (task.cat("same"), read(task, "/run/configs/same")) == (b"secret", b"config")
    assert task.do("stat", "/run/configs/same")[:4] == [7, 0, "400", 6]
    assert task.do("open", "/run/configs/same", "O_WRONLY") == "EROFS"


def test_a_config_comes_changes_and_goes_while_a_task_of_the_service_runs(shared_daemon):
    config(shared_daemon, "first", b"1")
    config(shared_daemon, "second", b"2")
    shared_daemon.out("service", "create", "web")
    task = shared_daemon.task("--service", "web")
    assert task.do("ls", "/run/configs") == []
    shared_daemon.out("service", "update", "--config-add", "source=first,target=conf.d/app", "web")
    assert read(task, "/run/configs/conf.d/app") == b"1"
    descriptor = task.do("open", "/run/configs/conf.d/app")
    shared_daemon.out("config", "update", "first", "-", input=b"one")
    assert read(task, "/run/configs/conf.d/app") == b"one"
    shared_daemon.out("service", "update", "--config-rm", "first", "--config-add", "second", "web")
    assert task.do("read", descriptor, 10) == "EACCES"
    assert task.do("ls", "/run/configs") == ["second"]
    shared_daemon.out("service", "rm", "web")
    assert read(task, "/run/configs/second") == "ENOENT"


def test_configs_are_beside_the_target_directory(shared_daemon, tmp_path):
    config(shared_daemon, "beside", b"here")
    words = ["run", "--config", "beside", "--target-dir", f"{tmp_path}/x/secrets", "--file-vars", "--", "sh", "-c"]
    shown = shared_daemon.out(*words, 'echo "$BESIDE_FILE"; cat "$BESIDE_FILE"')
    assert shown == f"{tmp_path}/x/configs/beside\nhere"


def test_a_program_of_a_service_without_configs_needs_no_place_for_them(shared_daemon, tmp_path):
    shared_daemon.secret("alone", b"secret")
    shared_daemon.out("service", "create", "--secret", "alone", "quiet")
    (tmp_path / "configs").touch()
    words = [
        "run",
        "--service",
        "quiet",
        "--target-dir",
        f"{tmp_path}/secrets",
        "--",
        "cat",
        f"{tmp_path}/secrets/alone",
    ]
    assert shared_daemon.out(*words) == "secret"
    config(shared_daemon, "late", b"config")
    shared_daemon.out("service", "update", "--config-add", "late", "quiet")
    done = shared_daemon.cli(*words, check=False)
    assert done.returncode == 125
    assert f"cannot make the target directory {tmp_path}/configs: a file is in the way" in done.stderr.decode()
