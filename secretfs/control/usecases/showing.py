"""Bringing running tasks to what the store says, within a time. Rule: the store is the truth, a task that is late is a
warning, and is brought there later.
"""

from collections.abc import Iterable
from typing import Final

import trio

from secretfs.control import log
from secretfs.control.usecases.tasks import Tasks
from secretfs.core.names import TaskId
from secretfs.errors import SecretfsError

UPDATE_SECONDS: Final = 2.0  # how long an update waits for running tasks (DESIGN section 4)


async def late_tasks(tasks: Tasks, concerned: Iterable[TaskId]) -> dict[TaskId, str]:
    """Show all these tasks what they are granted, at once; those that do not show it in time, and why."""
    waiting: dict[TaskId, str] = {}

    async def show(task_id: TaskId) -> None:
        waiting[task_id] = f"fs did not answer within {UPDATE_SECONDS:g} s"
        try:
            await tasks.refresh(task_id)
            del waiting[task_id]
        except SecretfsError as exc:
            waiting[task_id] = str(exc)

    with trio.move_on_after(UPDATE_SECONDS):
        async with trio.open_nursery() as nursery:
            for task_id in concerned:
                nursery.start_soon(show, task_id)
    for task_id, reason in waiting.items():
        log.warning("a task does not show its grants yet", task=task_id, error=reason)
    return waiting
