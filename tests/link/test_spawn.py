"""The arguments of a process that the supervisor starts, there and back."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.errors import LinkError
from secretfs.link.spawn import ControlStart, FsStart, SupervisorStart

STARTS = [FsStart, ControlStart, SupervisorStart]


@st.composite
def starts(draw):
    kind = draw(st.sampled_from(STARTS))
    values = {int: st.integers(0, 2**64), str: st.text(max_size=30)}
    return kind(*[draw(values[field.type]) for field in dataclasses.fields(kind)])


@given(starts())
def test_what_is_said_is_understood(start):
    assert type(start).parse(start.words()) == start


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_arguments_is_refused(kind, change):
    words = ["1"] * (len(dataclasses.fields(kind)) + change)
    with pytest.raises(LinkError, match=f"{kind.__name__} cannot be read from {len(words)} arguments"):
        kind.parse(words)


def test_a_word_that_is_no_number_is_refused():
    with pytest.raises(LinkError, match="FsStart cannot be read"):
        FsStart.parse(["three"] * len(dataclasses.fields(FsStart)))
