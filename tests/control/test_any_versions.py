"""Any sequence of updates, rollbacks, prunes, pins, attaches and restarts, against a model.

After each step: every task reads what it is granted, every version that is there opens to its bytes, and who holds it
is told; and what a prune removes is exactly what nobody would miss.
"""

import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import trio
from control_harness import ME, control_of, leader
from fakes import FakeFs
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.control.usecases.grants import Reference
from secretfs.control.usecases.secrets import Draft
from secretfs.control.usecases.services import Beside, ServiceDraft
from secretfs.control.usecases.tasks import AttachRequest
from secretfs.control.usecases.versions import Revision
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind, TaskId
from secretfs.core.plan import VersionRef
from secretfs.core.service import Extras
from secretfs.crypto.keyring import Keyring
from secretfs.errors import InvalidGrantError, NotFoundError, PreconditionError
from secretfs.store.sqlite import opened

HOUR_NS = 3_600_000_000_000
VALUES = [b"one", b"two", b"three"]
NUMBERS = st.integers(1, 6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.sampled_from(VALUES)),
        st.tuples(st.just("update"), st.sampled_from(VALUES)),
        st.tuples(st.just("rollback"), NUMBERS),
        st.tuples(st.just("prune"), st.integers(1, 3)),
        st.tuples(st.just("pin"), st.one_of(st.none(), NUMBERS)),
        st.just(("undo_pin",)),
        st.just(("attach_service",)),
        st.tuples(st.just("attach_adhoc"), st.one_of(st.none(), NUMBERS)),
        st.tuples(st.just("detach"), st.integers(0, 3)),
        st.just(("restart",)),
    ),
    max_size=16,
)


@dataclass
class Model:
    """What there should be: bytes by version; the service's pin and the one before; tasks and their own pins."""

    versions: dict[int, bytes]
    pins: list[int | None] = field(default_factory=lambda: [None])  # of the service's spec and the previous one
    service_tasks: list[TaskId] = field(default_factory=list)
    adhoc: dict[TaskId, int | None] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)  # versions that some task has shown: for drains that never end

    @property
    def newest(self) -> int:
        return max(self.versions)

    def shown(self) -> dict[TaskId, int]:
        granted = {**dict.fromkeys(self.service_tasks, self.pins[0]), **self.adhoc}
        return {task: pin or self.newest for task, pin in granted.items()}

    def safe(self) -> set[int]:
        held = {*self.pins, *self.adhoc.values(), *self.shown().values(), self.newest}
        return self.versions.keys() - held


class Script:
    """Carries steps out, on control and on the model."""

    def __init__(self, store, drains_end: bool) -> None:
        self.store, self.drains_end = store, drains_end
        self.keyring = Keyring.fresh()
        self.now_ns = HOUR_NS
        self.fs: FakeFs | None = None
        self.moved = False  # a pin of the service
        self.once_shown: set[tuple[TaskId, VersionRef]] = set()
        self.start()

    def start(self) -> None:
        self.control = control_of(self.store, self.keyring, self.fs, clock_ns=self.clock)
        self.fs = self.control.fs

    def clock(self) -> int:
        """Between two looks a drain is over, or no time passes at all but what tells them apart."""
        self.now_ns += HOUR_NS if self.drains_end else 1
        return self.now_ns

    async def begin(self) -> None:
        self.id = await self.control.secrets.create(ME, Draft(Kind.SECRET, "db", {}), VALUES[0])
        await self.control.services.create(ME, self.draft(None))
        self.model = Model({1: VALUES[0]})

    def draft(self, pin: int | None) -> ServiceDraft:
        beside = Beside(Extras(), {} if pin is None else {(Kind.SECRET, "db"): pin})
        reference = Reference(Kind.SECRET, self.id, "db", "db", 0, 0, 0o444)
        return ServiceDraft("web", {}, (reference,), {"Name": "web", "TaskTemplate": {"ContainerSpec": {}}}, beside)

    async def do_update(self, value: bytes) -> None:
        self.became(
            await self.control.versions.update(ME, Revision(Kind.SECRET, "db", 30_000, {}), bytearray(value)), value
        )

    async def do_rollback(self, number: int) -> None:
        revision = Revision(Kind.SECRET, "db", 30_000, {})
        try:
            revised = await self.control.versions.rollback(ME, revision, number)
        except NotFoundError:
            assert number not in self.model.versions
        else:
            self.became(revised, self.model.versions[number])

    def became(self, revised, value: bytes) -> None:
        assert revised.warnings == ()
        assert revised.unchanged == (self.model.versions[self.model.newest] == value)
        if not revised.unchanged:
            assert revised.number == self.model.newest + 1
            self.model.versions[revised.number] = value
        assert revised.number == self.model.newest

    async def do_prune(self, keep: int) -> None:
        pruned = await self.control.versions.prune(ME, Kind.SECRET, "db", keep)
        recent = sorted(self.model.versions)[-keep:]
        expected = self.model.safe() - set(recent)
        if self.drains_end:
            assert set(pruned.removed) == expected
        else:
            assert expected - self.model.opened <= set(pruned.removed) <= expected
            assert not self.running_has_opened() & set(pruned.removed)
        assert all(kept.reasons for kept in pruned.kept)
        assert {kept.number for kept in pruned.kept} == self.model.versions.keys() - set(pruned.removed)
        for number in pruned.removed:
            del self.model.versions[number]
            assert await self.store.get(f"value/{self.id}/{number}/data") is None

    def running_has_opened(self) -> set[int]:
        return {content.number for task, content in self.once_shown if task in self.model.shown()}

    async def do_pin(self, pin: int | None) -> None:
        rev = (await self.control.services.inspect("web")).rev
        try:
            await self.control.services.update(ME, "web", rev, self.draft(pin))
        except InvalidGrantError as refusal:
            self.was_right(refusal, pin)
        else:
            assert pin is None or pin in self.model.versions
            self.model.pins = [pin, self.model.pins[0]]
            self.moved = True

    def was_right(self, refusal: InvalidGrantError, pin: int | None) -> None:
        assert f"secret db has no version {pin}" in str(refusal)
        assert pin not in self.model.versions

    async def do_undo_pin(self) -> None:
        rev = (await self.control.services.inspect("web")).rev
        try:
            await self.control.services.rollback(ME, "web", rev)
        except PreconditionError:
            assert len(self.model.pins) == 1
        else:
            self.model.pins.reverse()
            self.moved = True

    async def do_attach_service(self) -> None:
        attached = await self.control.tasks.attach(ME, AttachRequest("web", (), "/run/secrets"), leader())
        self.model.service_tasks.append(attached.task.id)

    async def do_attach_adhoc(self, pin: int | None) -> None:
        grant = GrantRequest(Kind.SECRET, "db", "db", version=pin)
        try:
            attached = await self.control.tasks.attach(ME, AttachRequest(None, (grant,), "/run/secrets"), leader())
        except InvalidGrantError as refusal:
            self.was_right(refusal, pin)
        else:
            assert pin is None or pin in self.model.versions
            self.model.adhoc[attached.task.id] = pin

    async def do_detach(self, at: int) -> None:
        running = list(self.model.shown())
        if at < len(running):
            await self.control.tasks.detach(running[at], "the test says so")
            self.model.adhoc.pop(running[at], None)
            self.model.service_tasks = [task for task in self.model.service_tasks if task != running[at]]

    async def do_restart(self) -> None:
        """What drains is computed anew from the store, which does not know when a pin was moved."""
        self.start()
        await self.control.trees.load()
        if self.moved:
            self.once_shown = {shown for shown in self.once_shown if shown[0] in self.model.adhoc}

    async def check(self) -> None:
        shown = self.model.shown()
        self.model.opened |= set(shown.values())
        self.once_shown |= {(task, VersionRef(self.id, number)) for task, number in shown.items()}
        assert {task: self.fs.read(task, "db") for task in shown} == {
            task: self.model.versions[number] for task, number in shown.items()
        }
        for number, value in self.model.versions.items():
            assert await self.control.values.opened(VersionRef(self.id, number)) == value
        uses = await self.control.versions.listed(Kind.SECRET, "db")
        assert {use.version.number: set(use.tasks) for use in uses} == {
            number: {task for task, at in shown.items() if at == number} for number in sorted(self.model.versions)
        }
        assert all(before.version.number < after.version.number for before, after in pairwise(uses))
        if self.drains_end:
            assert {use.version.number for use in uses if use.safe} == self.model.safe()

    async def run(self, steps) -> None:
        await self.begin()
        for name, *what in steps:
            await getattr(self, f"do_{name}")(*what)
            await self.check()


@settings(max_examples=40, deadline=None)
@given(STEPS, st.booleans())
def test_any_versions_are_shown_kept_and_pruned_as_granted(steps, drains_end):
    async def run():
        with tempfile.TemporaryDirectory() as directory:
            async with opened(Path(directory) / "store.db") as store:
                await Script(store, drains_end).run(steps)

    trio.run(run)
