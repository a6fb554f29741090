import os
import signal
from pathlib import Path

import pytest

from secretfs.errors import ProgramNotExecutableError, ProgramNotFoundError
from secretfs.runtimes import program


@pytest.fixture
def directories(tmp_path, monkeypatch):
    """Two directories in PATH: in the first, what cannot be run."""
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
    monkeypatch.setenv("PATH", f"{first}:{second}:{tmp_path}/absent")
    return first, second


@pytest.fixture(autouse=True)
def signals_as_they_were():
    """An exec that fails has put them back to their defaults already."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    yield
    for number, disposition in kept.items():
        signal.signal(number, disposition)


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_the_first_in_path_is_found(directories):
    first, second = directories
    script(second / "tool")
    assert program.found("tool") == str(second / "tool")
    script(first / "tool")
    assert program.found("tool") == str(first / "tool")


def test_what_cannot_be_run_is_passed_over(directories):
    first, second = directories
    script(first / "tool", mode=0o644)
    (first / "other").mkdir()
    script(second / "tool")
    script(second / "other")
    assert [program.found(name) for name in ("tool", "other")] == [f"{second}/tool", f"{second}/other"]


def test_without_path_the_system_s_own_is_searched(monkeypatch):
    monkeypatch.delenv("PATH")
    assert program.found("sh") in ("/bin/sh", "/usr/bin/sh")


def test_a_path_is_taken_as_it_is(tmp_path):
    path = script(tmp_path / "tool")
    assert program.found(path) == path
    assert program.found(os.path.relpath(path)) == os.path.relpath(path)


@pytest.mark.parametrize("name", ["nothing", ""])
def test_what_is_nowhere_in_path_is_not_found(directories, name):
    with pytest.raises(ProgramNotFoundError) as caught:
        program.found(name)
    assert str(caught.value) == f"program {name!r} not found in PATH"


def test_a_path_to_nothing_is_not_found(tmp_path):
    with pytest.raises(ProgramNotFoundError, match=f"^program {tmp_path}/nothing not found$"):
        program.found(f"{tmp_path}/nothing")


def test_a_link_to_nothing_is_not_found(tmp_path):
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(ProgramNotFoundError, match=f"^program {tmp_path}/link not found: it is a link to nothing$"):
        program.found(f"{tmp_path}/link")


def test_a_directory_is_not_executable(tmp_path):
    with pytest.raises(ProgramNotExecutableError, match=f"^cannot run {tmp_path}: it is a directory$"):
        program.found(str(tmp_path))


def test_a_file_without_the_bit_is_not_executable(directories):
    path = script(directories[0] / "tool", mode=0o644)
    with pytest.raises(ProgramNotExecutableError) as caught:
        program.found("tool")
    assert (str(caught.value), caught.value.__notes__) == (
        f"cannot run {path}: it is not executable",
        [f"chmod +x {path}"],
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/no/such/interpreter\n", "the interpreter that it names is not there"),
        ("text\n", "it is no program, and no script that begins with #!"),
        ("", "it is no program, and no script that begins with #!"),
    ],
)
def test_what_the_kernel_does_not_take_is_not_executable(tmp_path, text, reason):
    path = script(tmp_path / "tool", text)
    with pytest.raises(ProgramNotExecutableError) as caught:
        program.exec_in_place(path, ["tool"], {})
    assert str(caught.value) == f"cannot run {path}: {reason}"


def test_what_is_gone_meanwhile_is_not_found(tmp_path):
    with pytest.raises(ProgramNotFoundError, match=f"^program {tmp_path}/gone not found$"):
        program.exec_in_place(f"{tmp_path}/gone", ["gone"], {})


def test_what_this_user_may_not_run_is_not_executable(tmp_path):
    path = script(tmp_path / "tool", mode=0o644)
    with pytest.raises(ProgramNotExecutableError, match=f"^cannot run {path}: uid 0 may not$"):
        program.exec_in_place(path, ["tool"], {})


def test_too_many_arguments_are_said_to_be(tmp_path):
    path = script(tmp_path / "tool")
    with pytest.raises(ProgramNotExecutableError, match=f"^cannot run {path}: Argument list too long$"):
        program.exec_in_place(path, ["tool", "x" * 4_000_000], {})


def test_the_environment_is_complete(monkeypatch):
    monkeypatch.setenv("SOME", "thing")
    assert program.environment()[b"SOME"] == b"thing"
