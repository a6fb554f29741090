import base64
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secretfs.crypto import rootkey
from secretfs.crypto.rootkey import root_key
from secretfs.errors import RootKeyError

KEY = bytes(range(100, 132))
ENCODINGS = {
    "raw": KEY,
    "hex": KEY.hex().encode(),
    "HEX and a newline": KEY.hex().upper().encode() + b"\n",
    "base64": base64.b64encode(KEY),
    "base64 and a newline": base64.b64encode(KEY) + b"\n",
    "unpadded base64": base64.b64encode(KEY).rstrip(b"="),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_bytes(KEY)
    return path


def refusal(spec: str, *, create: bool = False) -> str:
    with pytest.raises(RootKeyError) as caught:
        root_key(spec, create=create)
    return str(caught.value)


# --- file: --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_key_file_is_read_in_every_encoding(file: Path, encoding: str) -> None:
    file.write_bytes(ENCODINGS[encoding])
    assert root_key(f"file:{file}", create=False) == KEY


def test_key_file_is_made_private_with_its_directory_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "secretfs" / "root.key"
    key = root_key(f"file:{path}", create=True)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["root.key"]
    assert root_key(f"file:{path}", create=True) == root_key(f"file:{path}", create=False) == key


def test_racing_starts_agree_on_one_key(tmp_path: Path) -> None:
    spec = f"file:{tmp_path}/root.key"
    with ThreadPoolExecutor(10) as pool:
        keys = list(pool.map(lambda _: root_key(spec, create=True), range(10)))
    assert len(set(keys)) == 1
    assert os.listdir(tmp_path) == ["root.key"]


def test_missing_key_file_is_not_made_for_a_store_that_needs_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    assert refusal(f"file:{path}") == (f"root key file '{path}' does not exist: restore it from a backup")
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o610])
def test_key_file_that_others_can_open_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert refusal(f"file:{file}", create=True) == (
        f"root key file '{file}' is open to others (mode 0{mode:o}): chmod 0600 {file}"
    )


def test_key_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 12345, -1)
    assert refusal(f"file:{file}") == f"root key file '{file}' belongs to uid 12345: chown it to root"


def test_directory_in_which_others_can_write_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)
    assert refusal(f"file:{file}") == (
        f"the directory of root key file '{file}' can be written by others (mode 0777): chmod go-w {file.parent}"
    )
    file.parent.chmod(0o1777)
    assert root_key(f"file:{file}", create=False) == KEY


def test_symbolic_link_is_refused_also_a_dangling_one(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    message = f"root key file '{link}' cannot be opened: Too many levels of symbolic links"
    assert refusal(f"file:{link}") == message
    file.unlink()
    assert refusal(f"file:{link}", create=True) == message


def test_directory_and_fifo_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path):
        assert refusal(f"file:{path}") == f"root key file '{path}' is not a regular file"


def test_key_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = tmp_path / "plain" / "root.key"
    assert refusal(f"file:{path}", create=True) == f"root key file '{path}' cannot be made: File exists"


@pytest.mark.parametrize(
    "data", [b"", b"short", KEY[:31], KEY + b"\n", KEY.hex().encode()[:-2], b"\0" * 64, b"x" * 9000]
)
def test_what_is_no_key_is_refused_without_showing_it(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    message = refusal(f"file:{file}", create=True)
    assert message == (
        f"root key source 'file:{file}' gave {min(len(data), 4096)} bytes, not a key of 32 bytes raw, hex or base64"
    )
    assert file.read_bytes() == data


# --- credential: --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_credential_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    (tmp_path / "root").write_bytes(ENCODINGS[encoding])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert root_key("credential:root", create=True) == KEY


def test_credential_without_systemd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert refusal("credential:root") == (
        "root key credential 'root': $CREDENTIALS_DIRECTORY is not set: "
        "add LoadCredentialEncrypted=root to the systemd unit"
    )


@pytest.mark.parametrize("name", ["../root", "a/b", "/etc/passwd", ".", ".."])
def test_credential_outside_its_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert refusal(f"credential:{name}") == f"root key credential {name!r} is not a credential's name"


def test_missing_credential_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert refusal("credential:root", create=True) == (
        "root key credential 'root' cannot be read: No such file or directory"
    )


# --- exec: --------------------------------------------------------------------------------------------------


def printing(data: bytes) -> str:
    return f"exec:{sys.executable} -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(\"{data.hex()}\"))'"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_program_gives_the_key(encoding: str) -> None:
    assert root_key(printing(ENCODINGS[encoding]), create=False) == KEY


def test_program_that_prints_no_key_is_refused_without_showing_it() -> None:
    message = refusal("exec:printf hunter2")
    assert message == ("root key source 'exec:printf hunter2' gave 7 bytes, not a key of 32 bytes raw, hex or base64")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exec:false", "root key program 'false' failed with exit code 1"),
        ("exec:sh -c 'kill -9 $$'", "root key program \"sh -c 'kill -9 $$'\" failed with signal 9"),
        (
            "exec:/nonexistent/key",
            "root key program '/nonexistent/key' cannot be started: No such file or directory",
        ),
        ("exec:'unclosed", 'root key program "\'unclosed" is not a command line'),
        ("exec:a\0b", "root key program 'a\\x00b' is not a command line"),
        ("exec: ", "root key program ' ' is not a command line"),
    ],
)
def test_program_that_fails_is_named(spec: str, message: str) -> None:
    assert refusal(spec) == message


def test_program_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootkey, "EXEC_SECONDS", 0.05)
    assert refusal("exec:sleep 1000") == "root key program 'sleep 1000' gave no answer in 0.05 seconds"


# --- sources ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["", "file", "file:", "credential:", "exec:", "/etc/root.key", "vault:x", "FILE:/x"])
@pytest.mark.parametrize("create", [True, False])
def test_source_that_is_none_is_refused(spec: str, *, create: bool) -> None:
    assert refusal(spec, create=create) == (
        f"root key source {spec!r} is none of file:PATH, credential:NAME, exec:PROGRAM"
    )
