"""What test_forget.py relies on: the scanner finds what is there, whatever form it has, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from canary import Canary, Needle, Scanner, data_key, forms_of

pytestmark = pytest.mark.kernel

KEEPER = """
import ctypes, os, sys
kept = [open(path, "rb").read() for path in sys.argv[1:]]
print("kept", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def canary():
    return Canary(1 << 16)


def keeper(*paths) -> subprocess.Popen:
    """A process that has these files in its memory."""
    words = [sys.executable, "-c", KEEPER, *map(str, paths)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"kept\n"
    return process


def ended(process: subprocess.Popen) -> None:
    process.communicate()


def test_every_form_at_every_alignment_is_found_in_memory_and_in_files(canary, tmp_path):
    forms = dict(forms_of(canary.value()))
    for shift in range(8):
        for name, form in forms.items():
            (tmp_path / f"{shift} {name}").write_bytes(b"." * shift + form + b"after")
    scanner = Scanner(canary.needle)
    paths = sorted(tmp_path.iterdir())
    process = keeper(*paths)
    try:
        found = {hit.form for hit in scanner.processes([process.pid])}
    finally:
        ended(process)
    assert found == {f"value {name}" for name in forms}
    by_file = {(Path(hit.place).name, hit.form) for hit in scanner.files(tmp_path)}
    assert by_file >= {(path.name, f"value {path.name[2:]}") for path in paths}


def test_digits_between_letters_are_found_in_hex_and_in_capitals(tmp_path):
    """A word of eight digits is the same in both."""
    value = bytes.fromhex("abcdef0112345678abcdef02")
    scanner = Scanner(Needle.of("value", value))
    for name in ("hex", "HEX"):
        (tmp_path / name).write_bytes(dict(forms_of(value))[name])
    found = {(Path(hit.place).name, hit.form) for hit in scanner.files(tmp_path)}
    assert found == {("hex", "value hex"), ("HEX", "value HEX")}


@pytest.mark.parametrize("part", [slice(0, 1 << 15), slice(1 << 15, None), slice(4711, 4711 + 24)], ids=str)
def test_a_part_of_any_form_is_found(canary, tmp_path, part):
    for name, form in forms_of(canary.value()):
        (tmp_path / name).write_bytes(b"b" + form[part])
    found = Scanner(canary.needle).files(tmp_path)
    assert {hit.place.rpartition("/")[2] for hit in found} == {name for name, _ in forms_of(b"")}


def test_nothing_is_found_where_nothing_is(canary, tmp_path):
    other, key = Canary(1 << 16), Needle.of("data key", Canary(32).value())
    (tmp_path / "other").write_bytes(other.value())
    scanner = Scanner(canary.needle, key)
    process = keeper(tmp_path / "other")
    try:
        assert scanner.processes([process.pid]) == []
    finally:
        ended(process)
    assert scanner.files(tmp_path) == []


def test_a_live_value_is_found_in_the_arena_alone_and_its_key_nowhere(daemon):
    canary = Canary()
    scanner = Scanner(canary.needle, data_key(daemon.state, daemon.key, daemon.secret("canary", canary.value())))
    task = daemon.task("--secret", "canary")
    assert task.cat("canary") == canary.value()
    hits = scanner.processes(daemon.processes())
    assert {hit.form for hit in hits} == {"value raw"}
    assert all("secretfs-arena" in hit.place for hit in hits), hits
    assert all(scanner.processes([pid]) for pid in (daemon.pid, daemon.fs_pid())), "each of the two has it"
    assert max(hit.words for hit in hits) == canary.size // 8
    assert scanner.files(daemon.state, daemon.runtime, daemon.key) == []


def test_a_data_key_is_found(daemon, tmp_path):
    """The one that is searched for is the one that opens the value."""
    object_id = daemon.secret("canary", b"This is a secret")
    needle = data_key(daemon.state, daemon.key, object_id)
    assert needle.forms[0] == "data key raw"
    assert len(needle.places) > 100
    again = data_key(daemon.state, daemon.key, object_id)
    assert again.places == needle.places, "it is read, not made"
