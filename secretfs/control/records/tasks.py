"""Tasks: only those that live; the record goes with the task, and the audit keeps what became of it."""

from typing import Final

from secretfs.control.records.lookup import Noun
from secretfs.core.task import Task

TASKS: Final = Noun("task", Task)
