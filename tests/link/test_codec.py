"""The codec of the frames between the processes."""

import dataclasses
import string
import struct
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.errors import LinkError
from secretfs.link import brokering, codec, desired, pulse, serving

IDS = st.text(string.digits + string.ascii_lowercase, min_size=25, max_size=25)
KINDS = get_args(codec.Frame)


def _encodable(text: str) -> bool:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text
    except UnicodeEncodeError:
        return False


TARGETS = st.text(min_size=0, max_size=1000).filter(_encodable)


def _field(kind, field):
    if field.name in ("target", "parts"):
        return TARGETS
    if field.type in (str, "str"):
        return IDS
    narrow = field.name in ("kind", "more")
    return st.integers(0, 255 if narrow else 2**32 - 1)


@st.composite
def any_frame(draw):
    kind = draw(st.sampled_from(KINDS))
    return kind(*[draw(_field(kind, field)) for field in dataclasses.fields(kind)])


@given(any_frame())
def test_decoding_undoes_encoding(frame):
    assert codec.decode(codec.encode(frame)) == frame


@given(st.binary(max_size=200))
def test_any_packet_is_a_frame_or_a_link_error(packet):
    try:
        frame = codec.decode(packet)
    except LinkError:
        return
    assert codec.encode(frame) == packet


@given(any_frame(), st.integers(1, 40))
def test_a_cut_packet_is_refused(frame, cut):
    packet = codec.encode(frame)
    if isinstance(frame, desired.TreeEntry):
        packet = packet[: struct.calcsize("<BBIIIQI25s")]
    if isinstance(frame, serving.Handover):
        packet = packet[: struct.calcsize("<BQQ")]
    if isinstance(frame, brokering.AskCommand):
        packet = packet[: struct.calcsize("<BQQ25s")]
    if isinstance(frame, brokering.AskTouch):
        packet = packet[: struct.calcsize("<BQB25s")]
    with pytest.raises(LinkError):
        codec.decode(packet[: max(0, len(packet) - cut)])


def test_codes_are_unique():
    assert len({codec.encode(kind(*_zeroes(kind)))[0] for kind in KINDS}) == len(KINDS)


def _zeroes(kind):
    return [("0" * 25 if field.type in (str, "str") else 0) for field in dataclasses.fields(kind)]


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(LinkError, match="Grown cannot be sent"):
        codec.encode(serving.Grown(size=1, error=2**32))


def test_a_target_that_is_too_long_is_refused():
    entry = desired.TreeEntry(0, 0, 0, 0o444, 1, 1, "a" * 25, "t" * codec.MAX_FRAME_BYTES)
    with pytest.raises(LinkError, match="too long"):
        codec.encode(entry)


def test_a_frame_out_of_step_is_named():
    with pytest.raises(LinkError, match="Pong came where Done was due"):
        codec.expect(pulse.Pong(1), desired.Done)


@pytest.mark.parametrize("task", ["", "a" * 24, "a" * 26, "a" * 40, "é" * 25, "a" * 24 + "é"])
def test_an_id_of_another_length_is_refused_and_not_cut(task):
    """struct would cut it, or fill it up with zeros: a word about another task."""
    with pytest.raises(LinkError, match="TreeBegin cannot be sent"):
        codec.encode(desired.TreeBegin(1, task))
