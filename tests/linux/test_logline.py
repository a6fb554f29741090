import contextlib
import json
import os
import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.linux import logline
from secretfs.linux.logline import Log

LOG = Log("a process")


@pytest.fixture
def pipe(monkeypatch):
    """What stands in for stderr, to be read and to be written."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    monkeypatch.setattr(logline, "_STDERR", writing)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_a_line_says_when_how_bad_who_and_what_in_this_order(capfd):
    LOG.warning("it happened", task="x", number=1, event_name=None)
    line = json.loads(capfd.readouterr().err)
    assert list(line) == ["time", "level", "process", "event", "task", "number", "event_name"]
    assert [line["level"], line["process"], line["event"]] == ["warning", "a process", "it happened"]
    assert line["time"].endswith("Z")


def test_a_field_cannot_pass_for_another_process_or_level(capfd):
    LOG.info("it happened", process="supervisor", level="error", time="never")
    line = json.loads(capfd.readouterr().err)
    assert (line["process"], line["level"]) == ("a process", "info")
    assert line["time"] != "never"


@given(st.text(st.characters(categories=None)), st.text(st.characters(categories=None)))
def test_whatever_a_peer_chose_is_one_line_of_printable_ascii(event, text):
    line = logline._line({"event": event, "error": text})
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line).keys() == {"event", "error"}


@given(st.text())
def test_a_text_that_is_short_enough_is_whole(text):
    assert json.loads(logline._line({"event": text})) == {"event": text}


@pytest.mark.parametrize("text", ["x" * 100_000, "\x1b" * 100_000, "\U0001f600" * 100_000])
def test_a_long_text_is_cut_so_that_a_line_is_one_write(text):
    line = logline._line({"event": "e", "error": text, "name": text, "number": 7})
    assert len(line) <= select.PIPE_BUF
    cut = json.loads(line)
    assert text.startswith(cut["error"])
    assert (cut["event"], cut["number"]) == ("e", 7)


def test_a_log_that_nobody_reads_stops_nobody(pipe):
    reading, writing = pipe
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, bytes(select.PIPE_BUF)):
            pass
    os.set_blocking(writing, True)
    LOG.error("this one is lost")
    assert b"lost" not in os.read(reading, 1 << 20)
    LOG.error("this one is not")
    assert json.loads(os.read(reading, 1 << 20))["event"] == "this one is not"


def test_a_log_that_was_closed_stops_nobody(monkeypatch):
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.close(reading)
    monkeypatch.setattr(logline, "_STDERR", writing)
    LOG.error("nobody is there")
    os.close(writing)
    LOG.error("nothing is there")
