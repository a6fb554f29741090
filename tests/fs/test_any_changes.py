"""Any sequence of changes, with clients that look at the worst moments and an fs that is killed anywhere.

After each answer: every client sees exactly what is granted, through every cache of the kernel; open descriptors read
what they may and nothing else; no byte of anything else is left in the arena or in a page of the kernel.
"""

from dataclasses import dataclass, field

import trio
from fs_kernel import Handle
from fs_memory import journal_halves
from fs_world import World, entry, ref, value_of, world
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfuse3 import FUSEError

from secretfs.core.grant import TargetSet
from secretfs.core.names import Kind
from secretfs.core.plan import Entry, Tree, VersionRef, tree_of
from secretfs.errors import ArenaFullError, UnsealError

TASKS = ["1" * 25, "2" * 25]
TARGETS = ["a", "b", "d", "d/x", "d/e/y", "d/e/z"]
CONTENTS = [ref(name, number) for name in "abc" for number in (1, 2, 3)]
BAD = ref("x")

ENTRIES = st.builds(
    entry,
    st.sampled_from(TARGETS),
    st.sampled_from(CONTENTS),
    kind=st.sampled_from([Kind.SECRET, Kind.SECRET, Kind.CONFIG]),
    uid=st.sampled_from([0, 5]),
    mode=st.sampled_from([0o444, 0o400]),
)


def fitting(entries: list[Entry]) -> Tree:
    """Those of the entries that fit together."""
    taken = {kind: TargetSet() for kind in Kind}
    return tree_of(entry for entry in entries if taken[entry.kind].add(entry.target) is None)


TREES = st.lists(ENTRIES, max_size=5).map(fitting)
WHERE = st.tuples(st.sampled_from(TASKS), st.sampled_from(TARGETS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(TASKS), TREES, st.sampled_from([False, False, False, True])),
        st.tuples(st.just("put"), st.sampled_from(TASKS), TREES, st.just(False)),
        st.tuples(st.just("drop"), st.sampled_from(TASKS)),
        st.tuples(st.just("open"), WHERE),
        st.tuples(st.just("close"), st.integers(0, 5)),
        st.tuples(st.just("map"), st.integers(0, 5)),
        st.tuples(st.just("look"), WHERE),
        st.just(("restart",)),
        st.just(("shrink",)),
    ),
    max_size=14,
)


@dataclass
class Opened:
    """A descriptor of a client, and what it may read."""

    task: str
    key: tuple[Kind, str]
    content: VersionRef
    handle: Handle
    refused: bool = False


@dataclass
class Node:
    """The model: what is granted, and which descriptors are open."""

    granted: dict[str, Tree] = field(default_factory=dict)
    opened: list[Opened] = field(default_factory=list)

    def become(self, task: str, tree: Tree | None) -> None:
        """The task's grants are these now: descriptors on what went are refused for good."""
        for held in self.opened:
            if held.task == task:
                now = (tree or {}).get(held.key)
                held.refused |= now is None or now.content.object_id != held.content.object_id
        if tree is None:
            self.granted.pop(task, None)
        else:
            self.granted[task] = tree

    def after_refusal(self, task: str, desired: Tree) -> None:
        """What was to go is gone, what was to come is not there, and of one object the version before stays."""
        if task in self.granted:
            kept = {
                key: old
                for key, old in self.granted[task].items()
                if key in desired and desired[key].content.object_id == old.content.object_id
            }
            self.become(task, kept)

    def plaintexts(self) -> tuple[set[VersionRef], set[VersionRef]]:
        """Versions that must be in the arena, and those that may."""
        shown = {entry.content for tree in self.granted.values() for entry in tree.values()}
        return shown, shown | {held.content for held in self.opened if not held.refused}


async def check(fs: World, node: Node) -> None:
    for task in TASKS:
        tree = node.granted.get(task, {})
        for kind in Kind:
            for target in TARGETS:
                wanted = tree.get((kind, target))
                seen = fs.seen(task, kind, target)
                assert seen == (wanted and (wanted.uid, wanted.mode, value_of(wanted.content))), (task, kind, target)
    for held in node.opened:
        try:
            assert fs.kernel.read(held.handle) == value_of(held.content)
            assert not held.refused
        except FUSEError:
            assert held.refused
    must, may = node.plaintexts()
    left: set[VersionRef] = set()
    with trio.move_on_after(2):  # a drain ends beside what ended it
        while not must <= (left := fs.plaintexts([*CONTENTS, BAD])) <= may:
            await trio.lowlevel.checkpoint()
    assert must <= left <= may
    assert set(fs.trees.tasks) == set(node.granted)
    for page in fs.kernel.pages.values():
        assert any(value_of(content)[: len(page)] == page for content in must), "a page of what is not granted"


class Script:
    """Carries steps out, on fs and on the model."""

    def __init__(self, fs: World) -> None:
        self.fs = fs
        self.node = Node()

    async def step(self, name: str, *what) -> None:
        await getattr(self, f"do_{name}")(*what)

    async def do_put(self, task, desired, refused):
        self.fs.refuse = lambda _entry: UnsealError("wrong") if refused else None
        try:
            await self.fs.put(task, desired)
        except (UnsealError, ArenaFullError):
            self.node.after_refusal(task, desired)
        else:
            self.node.become(task, desired)

    async def do_drop(self, task):
        await self.fs.trees.drop(task)
        self.node.become(task, None)

    async def do_open(self, where):
        task, target = where
        granted = self.node.granted.get(task, {}).get((Kind.SECRET, target))
        if granted:
            handle = self.fs.kernel.open(self.fs.kernel.walk(task, "secrets", target))
            self.node.opened.append(Opened(task, (Kind.SECRET, target), granted.content, handle))

    async def do_close(self, index):
        if index < len(self.node.opened):
            self.fs.kernel.close(self.node.opened.pop(index).handle)

    async def do_map(self, index):
        """Of descriptors on the version shown: a mapping of a draining one is told of in test_trees."""
        if index < len(self.node.opened):
            held = self.node.opened[index]
            if not held.refused and self._shown(held) == held.content:
                self.fs.kernel.map(held.handle)

    async def do_look(self, where):
        self.fs.seen(where[0], Kind.SECRET, where[1])

    async def do_restart(self):
        await self.fs.restart()

    async def do_shrink(self):
        self.fs.kernel.shrink()
        self.fs.kernel.known |= {held.handle.ino for held in self.node.opened}

    def _shown(self, held: Opened) -> VersionRef | None:
        now = self.node.granted.get(held.task, {}).get(held.key)
        return now and now.content


def nosy(fs: World) -> None:
    """A client that fills every cache it can, and takes nothing for a value but a whole one."""
    for task in TASKS:
        for target in TARGETS:
            seen = fs.seen(task, Kind.SECRET, target, in_between=True)
            assert seen is None or seen[2] in map(value_of, CONTENTS)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(8, 64), st.booleans())
def test_any_changes_end_in_exactly_what_is_granted(steps, data_pages, looked_at):
    async def run():
        async with world(data_pages=data_pages, usable_pages=2) as fs:
            script = Script(fs)
            if looked_at:
                fs.moment = lambda _at: nosy(fs)
            for step in steps:
                await script.step(*step)
                await check(fs, script.node)

    with journal_halves(1 << 14, 1 << 12):
        trio.run(run)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.sampled_from(TASKS), TREES, st.integers(0, 60), st.booleans())
def test_an_fs_killed_anywhere_is_succeeded_by_one_that_ends_in_the_same(steps, task, desired, moment, dropped):
    """The kernel's caches live on, control says the tree again: nobody sees anything else afterwards."""

    async def run():
        async with world(data_pages=64, usable_pages=64) as fs:
            script = Script(fs)
            for step in steps:
                await script.step(*step)
            snapshots = [fs.snapshot("before")]
            fs.moment = lambda at: snapshots.append(fs.snapshot(at))
            change = ("drop", task) if dropped else ("put", task, desired, False)
            before = dict(script.node.granted)
            await script.step(*change)
            fs.moment = lambda _at: None
            snapshots.append(fs.snapshot("after"))
            await fs.restart(snapshots[moment % len(snapshots)])
            for name in TASKS:
                for target in TARGETS:
                    seen = fs.seen(name, Kind.SECRET, target)
                    allowed = [tree.get(name, {}).get((Kind.SECRET, target)) for tree in (before, script.node.granted)]
                    assert seen in [
                        wanted and (wanted.uid, wanted.mode, value_of(wanted.content)) for wanted in allowed
                    ]
            await script.step(*change)
            await check(fs, script.node)

    with journal_halves(1 << 14, 1 << 12):
        trio.run(run)
