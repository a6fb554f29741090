"""The transcripts, against the fake daemon and the real API."""

from pathlib import Path

import pytest
from command_line import play
from fake_daemon import FakeDaemon
from real_daemon import RealDaemon

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_command_lines_print_what_the_transcript_says(
    transcript: Path, any_daemon: FakeDaemon | RealDaemon, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "line").write_bytes(b"one line\n")
    (files / "lines").write_bytes(b"two\nlines\n")
    (files / "bytes").write_bytes(b"\0\xff\n\0")
    (files / "empty").touch()
    (files / "largest").write_bytes(bytes(511_999))
    (files / "too_large").write_bytes(bytes(512_000))
    (files / "largest_config").write_bytes(bytes(1_023_999))
    (files / "too_large_config").write_bytes(bytes(1_024_000))
    (files / "huge").write_bytes(bytes(2_000_000))
    play(transcript, any_daemon.host, any_daemon.attach, files)
