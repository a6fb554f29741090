"""What fs shows, as far as it has said so. Rule: a version counts as held until nobody can have it open any more.

It lags behind what should be shown while fs is away or its arena is full.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from secretfs.core.names import Kind, ObjectId, TaskId
from secretfs.core.plan import Flush, Replace, Tree, VersionRef, difference, tree_of
from secretfs.core.secret import Secret
from secretfs.core.versions import Held, draining

_MS = 1_000_000  # nanoseconds


class _Drained(NamedTuple):
    """A file that showed this version before."""

    task: TaskId
    place: tuple[Kind, str]
    content: VersionRef


class Shown:
    """The tree that fs took last of each task, and the versions that drain there."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = clock_ns
        self._trees: dict[TaskId, Tree] = {}
        self._until_ns: dict[_Drained, int] = {}  # since 1970

    def trees(self) -> Mapping[TaskId, Tree]:
        """All of them, as of now."""
        return dict(self._trees)

    def tree(self, task: TaskId) -> Tree | None:
        """That of one task; None when fs has shown none yet."""
        return self._trees.get(task)

    def held(self) -> Iterator[Held]:
        """Every version that a task shows, or may have open still."""
        for task, tree in self._trees.items():
            for content in {entry.content for entry in tree.values()}:
                yield Held(task, content)
        now = self._now_ns()
        self._until_ns = {drained: until for drained, until in self._until_ns.items() if until > now}
        for drained, until in self._until_ns.items():
            yield Held(drained.task, drained.content, until)

    def found(self, task: TaskId, tree: Tree, objects: Mapping[ObjectId, Secret], since_ns: int) -> None:
        """As control begins: fs shows this tree already, or is brought there first of all."""
        self._trees[task] = tree
        for place, entry in tree.items():
            for number, until in draining(objects[entry.content.object_id], entry.content.number, since_ns):
                self._until_ns[_Drained(task, place, VersionRef(entry.content.object_id, number))] = until

    def took(self, task: TaskId, tree: Tree) -> None:
        """Now fs shows this tree; a version that it replaced may be read on until its drain is over."""
        now = self._now_ns()
        for effect in difference(self._trees.get(task, {}), tree):
            if isinstance(effect, Flush) or (isinstance(effect, Replace) and effect.revokes):
                old = effect.entry if isinstance(effect, Flush) else effect.old
                self._end_by(now, task, (old.kind, old.target))
            elif isinstance(effect, Replace) and effect.old.content != effect.new.content:
                until, place = now + effect.drain_ms * _MS, (effect.old.kind, effect.old.target)
                self._end_by(until, task, place)
                self._until_ns[_Drained(task, place, effect.old.content)] = until
        self._trees[task] = tree

    def refused(self, task: TaskId, tree: Tree) -> None:
        """The tree was too much for fs: what had to go is gone, nothing came; a version to be replaced stays."""
        self.took(
            task,
            tree_of(
                entry
                for place, entry in self._trees.get(task, {}).items()
                if place in tree and tree[place].content.object_id == entry.content.object_id
            ),
        )

    def lacks(self, task: TaskId, contents: frozenset[VersionRef]) -> None:
        """These versions of its tree are not shown, as the store is locked."""
        tree = self._trees.get(task, {})
        self._trees[task] = tree_of(entry for entry in tree.values() if entry.content not in contents)

    def unknown(self, task: TaskId) -> None:
        """What fs shows of the task is not known, until it takes a tree."""
        self._trees.pop(task, None)

    def ended(self, task: TaskId) -> None:
        """The task's tree is flushed."""
        self._trees.pop(task, None)
        self._until_ns = {drained: until for drained, until in self._until_ns.items() if drained.task != task}

    def _end_by(self, until_ns: int, task: TaskId, place: tuple[Kind, str]) -> None:
        for drained, until in self._until_ns.items():
            if drained.task == task and drained.place == place:
                self._until_ns[drained] = min(until, until_ns)
