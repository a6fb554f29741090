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


def least(kind) -> int:
    return sum(field.default is dataclasses.MISSING for field in dataclasses.fields(kind))


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("count", ["too few", "too many"])
def test_another_number_of_arguments_is_refused(kind, count):
    words = ["1"] * (least(kind) - 1 if count == "too few" else len(dataclasses.fields(kind)) + 1)
    with pytest.raises(LinkError, match=f"{kind.__name__} cannot be read from {len(words)} arguments"):
        kind.parse(words)


def test_an_older_supervisor_says_less_and_is_understood():
    words = SupervisorStart("/state", "/run", "/mnt", "file:/key", 1, 2, takeover=1).words()
    assert SupervisorStart.parse(words[:6]) == SupervisorStart("/state", "/run", "/mnt", "file:/key", 1, 2, takeover=0)


def test_a_word_that_is_no_number_is_refused():
    with pytest.raises(LinkError, match="FsStart cannot be read"):
        FsStart.parse(["three"] * len(dataclasses.fields(FsStart)))
