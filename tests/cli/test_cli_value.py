"""A value on its way: every byte arrives, and none stays."""

import base64
import json
import os
import pickle
import pty
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from fake_daemon import FakeDaemon
from hypothesis import given
from hypothesis import strategies as st

from secretfs.cli import value as module
from secretfs.cli.value import Value, base64_into, base64_size, read_value, value_body
from secretfs.errors import InvalidArgumentError


@given(st.binary(max_size=400))
def test_base64_is_that_of_the_standard_library(data: bytes) -> None:
    target = bytearray(base64_size(len(data)) + 3)
    base64_into(target, 2, memoryview(data))
    assert bytes(target) == b"\0\0" + base64.b64encode(data) + b"\0"


@pytest.mark.parametrize("data", [b"\0\xff\n", b"no newline", b"\n", bytes(range(256)) * 40], ids=len)
def test_every_byte_arrives(daemon: FakeDaemon, secretfs: Callable[..., Ended], tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    secretfs("secret", "create", "from_file", str(tmp_path / "file"))
    secretfs("secret", "create", "from_stdin", "-", stdin=data)
    assert daemon.values == {"from_file": data, "from_stdin": data}


def test_buffers_are_wiped_after_success_and_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers: list[bytearray] = []
    wipe = module.wipe
    monkeypatch.setattr(module, "wipe", lambda buffer: (wipe(buffer), buffers.append(buffer)))
    (tmp_path / "file").write_bytes(b"secret")
    with (
        read_value(str(tmp_path / "file"), max_bytes=10) as value,
        value_body({"Name": "x", "Labels": {"a": "b"}}, value) as body,
    ):
        assert json.loads(body) == {"Name": "x", "Labels": {"a": "b"}, "Data": "c2VjcmV0"}
    with pytest.raises(RuntimeError), read_value(str(tmp_path / "file"), max_bytes=10):
        raise RuntimeError
    assert [bytes(buffer) for buffer in buffers] == [bytes(len(body)), bytes(10), bytes(10)]


def test_value_is_read_up_to_its_bound_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789abcdef")
    with read_value(str(tmp_path / "file"), max_bytes=10) as value:
        assert bytes(value.view) == b"0123456789"


def test_value_never_shows_itself() -> None:
    value = Value(bytearray(b"secret"), 6, from_person=False)
    assert repr(value) == "<Value 6 bytes>"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(value)


@pytest.mark.parametrize(
    ("data", "from_person", "stray"),
    [
        (b"x\n", True, True),
        (b"\n", True, True),
        (b"x", True, False),
        (b"x\ny\n", True, False),
        (b"x\ny", True, False),
        (b"x\n", False, False),
        ("ä b\t\r\n".encode(), True, True),
        (b"\0\xffbinary\n", True, False),
        (b"\x1f\n", True, False),
    ],
)
def test_one_line_end_of_one_line_from_a_person_is_stray(data: bytes, from_person: bool, stray: bool) -> None:
    assert Value(bytearray(data) + bytes(5), len(data), from_person=from_person).stray_newline is stray


def test_terminal_is_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    master, terminal = pty.openpty()
    os.write(master, b"typed\n\x04")
    kept = os.dup(0)
    os.dup2(terminal, 0)
    try:
        with read_value("-", max_bytes=100) as value:
            assert (bytes(value.view), value.stray_newline) == (b"typed\n", True)
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, master, terminal):
            os.close(descriptor)


def test_standard_input_that_is_closed_is_said() -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        with (
            pytest.raises(InvalidArgumentError, match="error reading from STDIN: read /dev/stdin: bad file descriptor"),
            read_value("-", max_bytes=100),
        ):
            pass
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_request_names_no_value_on_a_command_line_or_in_a_path(
    daemon: FakeDaemon, secretfs: Callable[..., Ended]
) -> None:
    secretfs("secret", "create", "x", "-", stdin=b"c0ffee")
    assert daemon.requests == ["POST /secrets/create HTTP/1.1"]
