"""The verbs of versions, against the real API; durations."""

import contextlib
from pathlib import Path

import pytest
from command_line import play
from hypothesis import given
from hypothesis import strategies as st
from real_daemon import real_daemon

from secretfs.cli.durations import seconds
from secretfs.errors import UsageError

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts" / "real").glob("[av]*.txt"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_versions_print_what_the_transcript_says(transcript: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "line").write_bytes(b"one line\n")
    (files / "bytes").write_bytes(b"\0\xff\n\0")
    (files / "empty").touch()
    (files / "too_large").write_bytes(bytes(512_000))
    with real_daemon(tmp_path) as daemon:
        play(transcript, daemon.host, daemon.attach, files)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("0s", 0), ("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("2h3m4s5ms", 7384.005)],
)
def test_a_duration_is_go_s(text: str, expected: float) -> None:
    assert seconds(text, flag="--drain") == pytest.approx(expected)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert 0 <= seconds(text, flag="--drain") < float("inf")


@pytest.mark.parametrize("text", ["", "s", "-1s", "1", "30", "1d", "1s ", "٣s", "1e9s", ".5s", "1..5s", "NaN"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        seconds(text, flag="--drain")
