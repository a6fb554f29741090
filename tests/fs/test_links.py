"""fs and its two neighbours over real sockets: a control that keeps to the script, one that does not, one that dies."""

import mmap
import os
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager

import pytest
import trio
from fs_memory import journal_halves
from fs_world import CANARY, World, entry, ref, tree, value_of, world
from pyfuse3 import FUSEError

from secretfs.control.fs_link import FsLink
from secretfs.control.ports import Sealed
from secretfs.core.names import Kind
from secretfs.core.plan import Tree, VersionRef
from secretfs.core.secret import DRAIN_MS
from secretfs.crypto.envelope import KeyEncryptionKey, seal, unwrap_key
from secretfs.errors import ArenaFullError, LockedError, NotFoundError
from secretfs.fs.links import ControlLink, SupervisorLink, next_frame
from secretfs.link import brokering, codec, desired, pulse, serving
from secretfs.link.codec import Frame
from secretfs.link.desired import Status
from secretfs.link.layout import DATA_KEY_BYTES, MAILBOX_BYTES
from secretfs.linux import memory, seqpacket

T1, T2 = "1" * 25, "2" * 25
A1, B1, X1 = ref("a"), ref("b"), ref("x")
A2, B2 = ref("a", 2), ref("b", 2)
KEK = KeyEncryptionKey(b"k" * 8, b"K" * 32)
KINDS = [Kind.SECRET, Kind.CONFIG]


@pytest.fixture(autouse=True)
def small_halves():
    with journal_halves(1 << 17, 1 << 14):
        yield


def sealed(content: VersionRef) -> Sealed:
    context = f"{content.object_id} {content.number}".encode()
    made = seal(value_of(content), context=context, kek=KEK)
    key = unwrap_key(made.wrapped_key, context=context, keyring={KEK.key_id: KEK})
    return Sealed(key, made.ciphertext, context)


class Control:
    """The other end: says what it is told to say."""

    def __init__(self, end, mailbox: mmap.mmap) -> None:
        self.end, self.mailbox = end, mailbox

    def say(self, *said: Frame) -> None:
        for frame in said:
            seqpacket.send(self.end, codec.encode(frame))

    async def hear(self) -> Frame | None:
        with trio.fail_after(5):
            received = await next_frame(self.end)
        return received[0] if received else None

    def tree(self, ask: int, task: str, wanted: Tree) -> None:
        self.say(desired.TreeBegin(ask, task))
        for one in wanted.values():
            if one.drain_ms != DRAIN_MS:
                self.say(desired.TreeDrain(one.drain_ms))
            self.say(
                desired.TreeEntry(KINDS.index(one.kind), one.uid, one.gid, one.mode, one.size, one.content.number,
                                 one.content.object_id, one.target)
            )  # fmt: skip
        self.say(desired.TreeEnd(ask))

    async def give(self, content: VersionRef) -> None:
        """Answer one Need."""
        assert await self.hear() == desired.Need(0, content.number, content.object_id)
        parts = sealed(content)
        mail = bytes(parts.data_key) + parts.context + parts.ciphertext
        self.mailbox[: len(mail)] = mail
        self.say(desired.Fill(0, len(parts.context), len(parts.ciphertext)))


@asynccontextmanager
async def linked(fs: World):
    """A ControlLink that runs, with a control to play."""
    ours, theirs = seqpacket.pair()
    fd = memory.memfd("mailbox", MAILBOX_BYTES)
    mailbox = memory.mapped(fd, MAILBOX_BYTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ControlLink(ours, fd, fs.trees).run)
        with theirs:
            yield Control(theirs, mailbox)
        nursery.cancel_scope.deadline = trio.current_time() + 5  # the link ends with the end of file
    assert not nursery.cancel_scope.cancelled_caught
    assert not any(mailbox[:]), "the mailbox is wiped at the end"


async def ended(control: Control) -> bool:
    return await control.hear() is None


async def test_a_tree_is_said_filled_and_done():
    async with world() as fs, linked(fs) as control:
        control.tree(7, T1, tree(entry("a", A1, uid=5, mode=0o400), entry("c", B1, kind=Kind.CONFIG)))
        await control.give(B1)
        await control.give(A1)
        assert await control.hear() == desired.Done(7, Status.OK)
        assert fs.seen(T1, Kind.SECRET, "a") == (5, 0o400, value_of(A1))
        assert fs.seen(T1, Kind.CONFIG, "c") == (0, 0o444, value_of(B1))
        assert not any(control.mailbox[:]), "wiped after each transfer"
        control.tree(8, T2, tree(entry("a", A1)))
        assert await control.hear() == desired.Done(8, Status.OK), "a version that is there is not asked for again"
        control.say(desired.Drop(9, T1), desired.Drop(10, T2))
        assert [await control.hear() for _ in range(2)] == [desired.Done(9, 0), desired.Done(10, 0)]
        assert not fs.plaintexts([A1, B1])


async def test_a_drain_is_that_of_the_entry_after_it():
    async with world() as fs, linked(fs) as control:
        control.tree(1, T1, tree(entry("a", A1), entry("b", B1)))
        await control.give(A1)
        await control.give(B1)
        assert await control.hear() == desired.Done(1, Status.OK)
        handles = [fs.kernel.open(fs.kernel.walk(T1, "secrets", name)) for name in "ab"]
        control.tree(2, T1, tree(entry("a", A2, drain_ms=0), entry("b", B2)))
        await control.give(A2)
        await control.give(B2)
        assert await control.hear() == desired.Done(2, Status.OK)
        with pytest.raises(FUSEError):
            fs.kernel.read(handles[0])
        assert fs.kernel.read(handles[1]) == value_of(B1)


async def test_a_value_that_control_does_not_have_is_said():
    async with world() as fs, linked(fs) as control:
        control.tree(1, T1, tree(entry("a", A1)))
        await control.hear()
        control.say(desired.NoFill(0))
        assert await control.hear() == desired.Done(1, Status.NO_VALUE)
        assert not fs.trees.tasks


@pytest.mark.parametrize("changed", [0, DATA_KEY_BYTES, DATA_KEY_BYTES + 30, DATA_KEY_BYTES + 60])
async def test_a_value_that_does_not_open_is_said_and_leaves_nothing(changed):
    async with world() as fs, linked(fs) as control:
        control.tree(1, T1, tree(entry("a", A1)))
        await control.hear()
        parts = sealed(A1)
        mail = bytearray(bytes(parts.data_key) + parts.context + parts.ciphertext)
        mail[changed] ^= 1
        control.mailbox[: len(mail)] = bytes(mail)
        control.say(desired.Fill(0, len(parts.context), len(parts.ciphertext)))
        assert await control.hear() == desired.Done(1, Status.UNSEAL_FAILED)
        assert not any(control.mailbox[:])
        assert not fs.plaintexts([A1])


async def test_a_full_arena_is_said():
    async with world(data_pages=1, usable_pages=1) as fs, linked(fs) as control:
        control.tree(1, T1, tree(entry("a", A1), entry("b", B1)))
        while isinstance(heard := await control.hear(), desired.Need):
            parts = sealed(VersionRef(heard.object_id, heard.version))
            mail = bytes(parts.data_key) + parts.context + parts.ciphertext
            control.mailbox[: len(mail)] = mail
            control.say(desired.Fill(0, len(parts.context), len(parts.ciphertext)))
        assert heard == desired.Done(1, Status.ARENA_FULL)


async def test_a_sync_drops_what_was_not_named_and_nothing_else():
    async with world() as fs:
        for task in (T1, T2, "3" * 25):
            await fs.put(task, tree(entry("a", A1)))
        async with linked(fs) as control:
            control.say(desired.SyncBegin())
            control.tree(1, T1, tree(entry("a", A1)))
            assert await control.hear() == desired.Done(1, Status.OK)
            control.tree(2, T2, tree(entry("x", X1)))
            await control.hear()
            control.say(desired.NoFill(0))
            assert await control.hear() == desired.Done(2, Status.NO_VALUE)
            control.say(desired.SyncEnd(3))
            assert await control.hear() == desired.Done(3, Status.OK)
        assert fs.trees.tasks == {T1, T2}, "one whose tree was refused was named"
        assert fs.seen(T1, Kind.SECRET, "a")
        assert fs.seen(T2, Kind.SECRET, "a") is None


OUT_OF_STEP = [
    [pulse.Ready()],
    [desired.TreeEnd(1)],
    [desired.SyncEnd(1)],
    [desired.Fill(0, 1, 1)],
    [desired.TreeBegin(1, T1), desired.Drop(2, T1)],
    [desired.TreeBegin(1, T1), desired.TreeEntry(2, 0, 0, 0, 1, 1, "a" * 25, "a")],
]


@pytest.mark.parametrize("said", OUT_OF_STEP)
async def test_a_control_that_is_out_of_step_ends_the_link_and_changes_nothing(said):
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        async with linked(fs) as control:
            control.mailbox[:5] = b"bytes"
            control.say(*said)
            assert await ended(control)
        assert fs.seen(T1, Kind.SECRET, "a") == (0, 0o444, value_of(A1))


async def test_a_packet_that_is_no_frame_ends_the_link():
    async with world() as fs, linked(fs) as control:
        control.end.send(b"\xffgarbage")
        assert await ended(control)


@pytest.mark.parametrize(
    "answer",
    [
        desired.Done(1, 0),
        desired.Fill(0, 2**32 - 1, 2**32 - 1),
        desired.Fill(0, MAILBOX_BYTES, len(value_of(A1)) + 28),
    ],
)
async def test_a_wrong_answer_to_a_need_ends_the_link_and_leaves_no_byte(answer):
    async with world() as fs:
        await fs.put(T1, tree(entry("old", B1)))
        async with linked(fs) as control:
            control.tree(1, T1, tree(entry("a", A1)))
            await control.hear()
            control.mailbox[:] = b"\xaa" * MAILBOX_BYTES
            control.say(answer)
            assert await ended(control)
        assert fs.seen(T1, Kind.SECRET, "old") is None, "what was to go is gone all the same"
        assert not fs.plaintexts([A1, B1])
        async with linked(fs) as control:  # the next control takes over
            control.tree(1, T1, tree(entry("a", A1)))
            await control.give(A1)
            assert await control.hear() == desired.Done(1, Status.OK)


async def test_a_value_of_another_size_than_its_record_says_is_refused_like_one_that_does_not_open():
    """A store that was changed: the tree is refused, the link stays, so that one such record is no crash loop."""
    async with world() as fs, linked(fs) as control:
        control.tree(1, T1, tree(entry("a", A1)))
        await control.hear()
        control.mailbox[:] = b"\xaa" * MAILBOX_BYTES
        control.say(desired.Fill(0, 0, 5))
        assert await control.hear() == desired.Done(1, Status.UNSEAL_FAILED)
        assert not control.mailbox[:37].strip(b"\0")


@pytest.mark.parametrize("position", range(5))
async def test_a_control_that_dies_anywhere_leaves_the_tree_before_or_after(position):
    async with world() as fs:
        await fs.put(T1, tree(entry("a", A1)))
        async with linked(fs) as control:
            for step in range(position):
                match step:
                    case 0:
                        control.say(desired.TreeBegin(1, T1))
                    case 1:
                        control.say(desired.TreeEntry(0, 0, 0, 0o444, len(value_of(B1)), 1, B1.object_id, "b"))
                    case 2:
                        control.say(desired.TreeEnd(1))
                    case 3:
                        await control.give(B1)
            control.end.close()
        after = position == 4
        seen = fs.seen(T1, Kind.SECRET, "a"), fs.seen(T1, Kind.SECRET, "b")
        whole = (0, 0o444, value_of(B1))
        assert seen[0] is None or position < 3, "a flush needs no value"
        assert seen[1] == (whole if after else None)
        assert fs.plaintexts([A1, B1]) == ({B1} if after else {A1} if position < 3 else set())


# -- with the real control end ---------------------------------------------------------------------------------------


@asynccontextmanager
async def joined(
    fs: World,
    desired: dict[str, Tree],
    missing: AbstractSet[VersionRef] = frozenset(),
    locked: AbstractSet[VersionRef] = frozenset(),
    withheld=lambda *_: None,
):
    """The real FsLink on the other end."""

    async def give(content: VersionRef) -> Sealed:
        await trio.lowlevel.checkpoint()
        if content in missing:
            raise NotFoundError("a damaged record")
        if content in locked:
            raise LockedError
        return sealed(content)

    link = FsLink(sealed=give, trees=lambda: desired, withheld=withheld)
    ours, theirs = seqpacket.pair()
    fd = memory.memfd("mailbox", MAILBOX_BYTES)
    async with trio.open_nursery() as nursery:
        link.wired(theirs, os.dup(fd))
        nursery.start_soon(ControlLink(ours, fd, fs.trees).run)
        nursery.start_soon(link.run)
        yield link
        nursery.cancel_scope.cancel()


async def test_control_and_fs_understand_each_other():
    desired = {T1: tree(entry("a", A1))}
    async with world() as fs, joined(fs, desired) as link:
        await link.put_tree(T2, tree(entry("a", A1), entry("d/b", B1, kind=Kind.CONFIG, uid=9)))
        assert fs.seen(T1, Kind.SECRET, "a") == (0, 0o444, value_of(A1)), "said at the beginning"
        assert fs.seen(T2, Kind.CONFIG, "d/b") == (9, 0o444, value_of(B1))
        await link.drop_tree(T2)
        assert fs.seen(T2, Kind.SECRET, "a") is None
        await link.drop_tree(T2)
        assert fs.plaintexts([A1, B1]) == {A1}


async def test_refusals_reach_the_caller_of_control():
    async with world(data_pages=3, usable_pages=2) as fs, joined(fs, {}, missing={X1}) as link:
        with pytest.raises(NotFoundError, match=f"task {T1}: a value is missing"):
            await link.put_tree(T1, tree(entry("x", X1)))
        with pytest.raises(ArenaFullError, match="the arena is full"):
            await link.put_tree(T1, tree(*[entry(name, ref(name)) for name in "abcde"]))
        await link.put_tree(T1, tree(entry("a", A1)))


async def test_a_locked_control_gives_nothing_keeps_what_is_there_and_takes_away():
    locked: set[VersionRef] = set()
    withheld: list[tuple[str, frozenset[VersionRef]]] = []
    desired = {T1: tree(entry("a", A1), entry("b", B1))}
    async with world() as fs:
        async with joined(fs, desired) as link:
            await link.put_tree(T2, tree(entry("b", B1)))
        locked |= {A2, X1}
        desired = {T1: tree(entry("a", A2), entry("b", B1)), T2: tree(entry("x", X1))}
        async with joined(fs, desired, locked=locked, withheld=lambda *said: withheld.append(said)) as link:
            with pytest.raises(LockedError):
                await link.put_tree(T1, desired[T1])
            await link.drop_tree("3" * 25)
            assert withheld == [(T1, {A2}), (T2, {X1}), (T1, {A2})]
            assert fs.seen(T1, Kind.SECRET, "a") == (0, 0o444, value_of(A1))
            assert fs.seen(T2, Kind.SECRET, "b") is None
            locked.clear()
            for task, wanted in desired.items():
                await link.put_tree(task, wanted)
            assert fs.seen(T1, Kind.SECRET, "a") == (0, 0o444, value_of(A2))
            assert fs.seen(T2, Kind.SECRET, "x") == (0, 0o444, value_of(X1))


async def test_many_callers_at_once_each_get_their_tree():
    async with world(data_pages=200) as fs, joined(fs, {}) as link:
        tasks = {f"{number:025}": tree(entry("a", A1), entry("b", ref("b", number))) for number in range(1, 12)}
        async with trio.open_nursery() as nursery:
            for task, wanted in tasks.items():
                nursery.start_soon(link.put_tree, task, wanted)
        for number, task in enumerate(tasks, 1):
            assert fs.seen(task, Kind.SECRET, "b") == (0, 0o444, value_of(ref("b", number)))


# -- the supervisor --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def supervised(wired=lambda *_: None):
    ours, theirs = seqpacket.pair()
    link, ends = SupervisorLink(ours), []
    async with trio.open_nursery() as nursery:

        async def run():
            ends.append(await link.run(wired=wired))

        nursery.start_soon(run)
        yield link, Control(theirs, None), ends
        theirs.close()
        nursery.cancel_scope.deadline = trio.current_time() + 5
    ours.close()
    assert not nursery.cancel_scope.cancelled_caught


async def finished(ends):
    with trio.fail_after(5):
        while not ends:
            await trio.lowlevel.checkpoint()
    return ends[0]


async def test_fs_answers_the_heartbeat():
    async with supervised() as (_, supervisor, _ends):
        supervisor.say(pulse.Ping(41), pulse.Ping(42))
        assert [await supervisor.hear() for _ in range(2)] == [pulse.Pong(41), pulse.Pong(42)]


async def test_fs_is_told_to_stop():
    async with supervised() as (_, supervisor, ends):
        supervisor.say(pulse.Stop())
        assert await finished(ends) is True


async def test_fs_sees_that_the_supervisor_is_gone():
    async with supervised() as (link, supervisor, ends):
        supervisor.end.close()
        assert await finished(ends) is False
        link.send(pulse.Ready())


async def test_fs_takes_the_wire_to_control_and_closes_what_it_did_not_ask_for():
    wires = []
    async with supervised(lambda end, mailbox: wires.append((end, mailbox))) as (_, supervisor, _ends):
        mine, other = seqpacket.pair()
        box = memory.memfd("box", 4096)
        before = len(os.listdir("/proc/self/fd"))
        seqpacket.send(supervisor.end, codec.encode(pulse.Wire()), [other.fileno()])
        seqpacket.send(supervisor.end, codec.encode(brokering.Identity(1, 2, 3)), [box, box])
        seqpacket.send(supervisor.end, codec.encode(pulse.Wire()), [other.fileno(), box])
        supervisor.say(pulse.Ping(1))
        assert await supervisor.hear() == pulse.Pong(1)
        assert len(os.listdir("/proc/self/fd")) == before + 2
        ((end, mailbox),) = wires
        end.send(b"hello")
        assert mine.recv(10) == b"hello"
        assert not end.getblocking()
        for one in (mine, other, end):
            one.close()
        os.close(mailbox)
        os.close(box)


async def test_fs_has_more_memory_locked():
    async with supervised() as (link, supervisor, _ends), trio.open_nursery() as nursery:
        usable = []

        async def grow():
            usable.append(await link.grow(1 << 20))

        nursery.start_soon(grow)
        assert await supervisor.hear() == serving.Grow(1 << 20)
        assert not usable
        supervisor.say(serving.Grown(1 << 19, 12))
        await finished(usable)
        assert usable == [1 << 19]


def test_the_canary_of_these_tests_is_found_once_it_is_there():
    """What the searches above rely on."""
    assert value_of(A1).count(value_of(A1)[:CANARY]) > 1
    assert value_of(A1)[:9] not in value_of(B1)
