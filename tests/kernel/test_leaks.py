"""Where a value must not be: files, logs, arguments, environments."""

import base64
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel


def test_a_value_is_in_no_file_no_log_no_argument_and_no_environment(daemon):
    value = os.urandom(4096)
    daemon.secret("canary", value)
    daemon.cli("service", "create", "--secret", "canary", "web")
    task = daemon.task("--service", "web", "--file-vars")
    assert task.cat("canary") == value
    needles = _needles(value)
    daemon.cli("secret", "create", "canary", "-", input=value, check=False)  # refused: the name is taken
    daemon.cli("service", "update", "--secret-rm", "canary", "web")
    pids = [*daemon.pids(), task.pid]
    places = {str(path): path.read_bytes() for path in _files(daemon.state, daemon.runtime, daemon.key)}
    places |= {
        f"/proc/{pid}/{name}": Path(f"/proc/{pid}/{name}").read_bytes()
        for pid in pids
        for name in ("cmdline", "environ")
    }
    places["log"] = "".join(daemon.lines).encode()
    assert [place for place, content in places.items() for needle in needles if needle in content] == []
    assert any("secretfs.db" in place for place in places), "the store was searched"
    daemon.end()
    assert [path for path in _files(daemon.state, daemon.runtime) if any(n in path.read_bytes() for n in needles)] == []


def test_the_search_finds_what_is_there(tmp_path):
    """The test above can fail: each form is found in a file."""
    value = os.urandom(4096)
    for index, needle in enumerate(_needles(value)):
        (tmp_path / f"{index}").write_bytes(b"before" + needle + b"after")
    found = [path for path in _files(tmp_path) if any(needle in path.read_bytes() for needle in _needles(value))]
    assert len(found) == len(_needles(value))


def _needles(value: bytes) -> list[bytes]:
    """Raw, base64 and hex, of the whole and of its halves; a piece of each is enough to be found."""
    parts = [value, value[: len(value) // 2], value[len(value) // 2 :]]
    shifts = [part[shift:] for part in parts for shift in range(3)]  # base64 of a part inside something longer
    encoded = [base64.b64encode(part)[8:72] for part in shifts]
    return [part[16:64] for part in parts] + encoded + [part[16:64].hex().encode() for part in parts]


def _files(*tops: Path) -> list[Path]:
    found = [top for top in tops if top.is_file()]
    for top in tops:
        for directory, _, names in os.walk(top):
            found += [Path(directory, name) for name in names]
    return [path for path in found if path.is_file() and not path.is_symlink()]
