from itertools import product

import pytest

from secretfs.core import task
from secretfs.core.task import TRANSITIONS, TaskEvent, TaskState, next_state
from secretfs.errors import PreconditionError

ORDER = list(TaskState)


@pytest.mark.parametrize(("state", "event"), list(product(TaskState, TaskEvent)))
def test_every_event_in_every_state_is_a_step_of_the_table_or_refused(state: TaskState, event: TaskEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(PreconditionError) as caught:
            next_state(state, event)
        assert str(caught.value) == f"task is {state.value}: it cannot be {event.value}"


@pytest.mark.parametrize(("step", "after"), list(TRANSITIONS.items()))
def test_states_only_grow(step: tuple[TaskState, TaskEvent], after: TaskState) -> None:
    assert ORDER.index(after) > ORDER.index(step[0])


def test_the_table_in_the_text_is_the_table() -> None:
    rows = {f"{state.value:<11}  {event.value:<10}  {after.value}" for (state, event), after in TRANSITIONS.items()}
    assert rows <= set((task.__doc__ or "").splitlines())
