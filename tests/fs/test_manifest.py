"""The manifest: what it says after any commits is what a successor reads."""

import string
from collections import Counter

import pytest
from fs_memory import KilledError, copied, fresh, journal_halves
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from secretfs.errors import ArenaFullError
from secretfs.fs.journal import Journal
from secretfs.fs.manifest import NO_SLOT, Act, Area, Drain, Manifest, Node, NodeType, Notice, Slot
from secretfs.link.layout import PAGE, ArenaLayout

LAYOUT = ArenaLayout(PAGE)
IDS = st.sampled_from(["a" * 25, "b" * 25, "0" * 25])
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1)
NAMES = st.text(string.ascii_letters + "é\udcff/ ", max_size=40)


@pytest.fixture(autouse=True)
def small_halves():
    with journal_halves(16384, 2048):
        yield


def opened(memory) -> Manifest:
    return Manifest(Journal(memory, LAYOUT))


def node(serial: int, *, ino: int | None = None, slot: int = NO_SLOT, path: str = "p") -> Node:
    kind = NodeType.FILE if slot else NodeType.DIRECTORY
    return Node(serial, ino or 1000 + serial, kind, Area.SECRETS, 0, 0, 0o444, 1, slot, "t" * 25, path)


def slot(serial: int, *, version: int = 1, object_id: str = "a" * 25) -> Slot:
    return Slot(serial, serial, version, 10, object_id)


def tables(manifest: Manifest):
    return manifest.nodes, manifest.slots, manifest.drains, manifest.notices


RECORDS = st.one_of(
    st.builds(Node, U32, U64, st.sampled_from(NodeType), st.sampled_from(Area), U32, U32, U32, U64,
              st.just(NO_SLOT), IDS, NAMES),
    st.builds(Slot, U32, U32, U32, U64, IDS),
    st.builds(Drain, U32, st.just(NO_SLOT), U64),
    st.builds(Notice, U64, st.sampled_from(Act), U64, U64, U64, NAMES),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=8))
def test_any_record_is_read_back_as_it_was(records):
    memory = fresh(LAYOUT)
    opened(memory).commit(put=tuple(records))
    found = [record for table in tables(opened(memory)) for record in table.values()]
    assert all(record in records for record in found)
    assert all(type(record.act) is Act for record in found if isinstance(record, Notice))
    assert all(type(record.area) is Area for record in found if isinstance(record, Node))


class Commits(RuleBasedStateMachine):
    """Random commits beside dicts that do the same; the journal is so small that it is compacted all the time."""

    @initialize()
    def begin(self):
        self._small = journal_halves(2500, 1200)
        self._small.__enter__()
        self.memory = fresh(LAYOUT)
        self.manifest = opened(self.memory)
        self.nodes, self.slots, self.drains, self.notices = {}, {}, {}, {}
        self.serials = set()

    def teardown(self):
        if hasattr(self, "_small"):
            self._small.__exit__(None, None, None)

    def serial(self) -> int:
        number = self.manifest.serial()
        assert number not in self.serials
        self.serials.add(number)
        return number

    def commit(self, put=(), delete=()):
        try:
            self.manifest.commit(put=tuple(put), delete=tuple(delete))
        except ArenaFullError:
            assert any(isinstance(record, Node | Slot) for record in put), "what only takes away has room"
            return
        for record in delete:
            self._table(record).pop(self._key(record))
        for record in put:
            self._table(record)[self._key(record)] = record

    def _table(self, record):
        return {Node: self.nodes, Slot: self.slots, Drain: self.drains, Notice: self.notices}[type(record)]

    @staticmethod
    def _key(record):
        match record:
            case Node():
                return record.ino
            case Drain():
                return record.node, record.slot
            case Notice():
                return record.number
        return record.serial

    @rule(path=NAMES, version=st.integers(1, 5))
    def expose(self, path, version):
        held = self.manifest.slot_of("a" * 25, version)
        new = held or slot(self.serial(), version=version)
        self.commit([*([] if held else [new]), node(self.serial(), slot=new.serial, path=path)])

    @rule(data=st.data(), version=st.integers(1, 5))
    @precondition(lambda self: self.nodes)
    def replace(self, data, version):
        old = data.draw(st.sampled_from(list(self.nodes.values())))
        held = self.manifest.slot_of("a" * 25, version)
        new = held or slot(self.serial(), version=version)
        if old.slot == new.serial:
            return
        drain = Drain(old.serial, old.slot, 5)
        back = self.drains.get((old.serial, new.serial))
        self.commit(
            [*([] if held else [new]), node(old.serial, ino=old.ino, slot=new.serial), drain], [back] if back else []
        )

    @rule(data=st.data())
    @precondition(lambda self: self.nodes)
    def flush(self, data):
        old = data.draw(st.sampled_from(list(self.nodes.values())))
        drains = [drain for drain in self.drains.values() if drain.node == old.serial]
        notice = Notice(self.serial(), Act.FORGET, old.ino, 1, 10, old.path)
        self.commit([notice], [old, *drains])

    @rule()
    @precondition(lambda self: self.notices)
    def told(self):
        self.commit(delete=list(self.notices.values()))

    @rule()
    def wiped(self):
        self.commit(delete=self.manifest.unnamed())

    @rule()
    def reopen(self):
        self.manifest = opened(self.memory)

    @rule()
    def reopen_a_copy(self):
        self.memory = copied(self.memory)
        self.manifest = opened(self.memory)

    @invariant()
    def says_what_was_committed(self):
        if not hasattr(self, "manifest"):
            return
        assert tables(self.manifest) == (self.nodes, self.slots, self.drains, self.notices)
        named = Counter(node.slot for node in self.nodes.values() if node.slot)
        named.update(drain.slot for drain in self.drains.values())
        assert {slot.serial for slot in self.manifest.unnamed()} == self.slots.keys() - named.keys()
        for slot_ in self.slots.values():
            assert self.manifest.slot_of(slot_.object_id, slot_.version) == slot_
        assert self.manifest.slot_of("z" * 25, 1) is None


TestCommits = Commits.TestCase
TestCommits.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_a_slot_that_is_named_stays_named_after_a_compaction_and_a_restart():
    """A snapshot that told nodes before slots left every slot unnamed: the next start wiped what was granted."""
    with journal_halves(2000, 500):
        memory = fresh(LAYOUT)
        manifest = opened(memory)
        manifest.commit(put=(slot(1), node(2, slot=1)))
        for number in range(100):
            manifest.commit(put=(Notice(number, Act.CHANGE, 1, 0, 1, ""),))
            manifest.commit(delete=tuple(manifest.notices.values()))
        assert not manifest.unnamed()
        assert not opened(memory).unnamed()


def test_a_serial_that_a_commit_gave_out_is_never_given_again():
    memory = fresh(LAYOUT)
    manifest = opened(memory)
    first = manifest.serial()
    manifest.commit(put=(slot(first),))
    manifest.commit(delete=(slot(first),))
    assert opened(memory).serial() > first


def test_an_empty_commit_writes_nothing():
    memory = fresh(LAYOUT)
    manifest = opened(memory)
    manifest.commit(put=(slot(1),))
    before = memory[:]
    manifest.commit()
    assert memory[:] == before


def test_a_refused_commit_changes_nothing():
    with journal_halves(2000, 500):
        memory = fresh(LAYOUT)
        manifest = opened(memory)
        filling = iter(lambda: manifest.commit(put=(node(manifest.serial()),)), "never")
        with pytest.raises(ArenaFullError):
            list(filling)
        before = [dict(table) for table in tables(manifest)]
        with pytest.raises(ArenaFullError):
            manifest.commit(put=(node(5000),), delete=tuple(manifest.notices.values()))
        assert [dict(table) for table in tables(manifest)] == before
        assert [dict(table) for table in tables(opened(memory))] == before
        manifest.commit(delete=tuple(manifest.nodes.values())[:3])
        manifest.commit(put=(node(manifest.serial()),))


def test_a_commit_killed_at_any_byte_is_whole_or_not_there():
    memory = fresh(LAYOUT)
    opened(memory).commit(put=(slot(1), node(2, slot=1)))
    budget, states = 0, []
    while True:
        dying = copied(memory)
        manifest = opened(dying)
        dying.budget = budget
        budget += 1
        try:
            manifest.commit(put=(slot(3, version=2), node(2, slot=3), Drain(2, 1, 9)), delete=())
            break
        except KilledError:
            dying.budget = None
            left = opened(dying)
            states.append((set(left.slots), left.nodes[1002].slot, set(left.drains)))
    assert states[0] == ({1}, 1, set())
    assert set(map(str, states)) <= {str(({1}, 1, set())), str(({1, 3}, 3, {(2, 1)}))}
