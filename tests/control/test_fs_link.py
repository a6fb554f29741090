"""control's end of the link to fs, with an fs that keeps to a script, refuses, or dies at any word."""

import json
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.control.channel import next_frame
from secretfs.control.fs_link import ANSWER_SECONDS, REWIRE_SECONDS, FsLink
from secretfs.control.ports import Sealed
from secretfs.core.names import Kind, ObjectId, TaskId
from secretfs.core.plan import Entry, VersionRef, tree_of
from secretfs.errors import ArenaFullError, LinkError, LockedError, NotFoundError, UnavailableError, UnsealError
from secretfs.link import codec, desired, pulse
from secretfs.link.desired import Status
from secretfs.link.layout import DATA_KEY_BYTES, MAILBOX_BYTES
from secretfs.linux import memory, seqpacket

T1, T2 = TaskId("1" * 25), TaskId("2" * 25)
A1 = VersionRef(ObjectId("a" * 25), 1)
KEY, CONTEXT, CIPHERTEXT = b"K" * DATA_KEY_BYTES, b"the context", b"the sealed value"
TREE = tree_of([Entry(Kind.SECRET, "a", 1, 2, 0o440, A1, 5), Entry(Kind.CONFIG, "d/b", 0, 0, 0o444, A1, 5)])
ENTRY_FRAMES = [
    desired.TreeEntry(0, 1, 2, 0o440, 5, 1, "a" * 25, "a"),
    desired.TreeEntry(1, 0, 0, 0o444, 5, 1, "a" * 25, "d/b"),
]


class Fs:
    """One fs: its end of the socket, and its mapping of the mailbox."""

    def __init__(self, link: FsLink) -> None:
        self.end, theirs = seqpacket.pair()
        fd = memory.memfd("mailbox", MAILBOX_BYTES)
        self.mailbox = memory.mapped(fd, MAILBOX_BYTES)
        link.wired(theirs, fd)

    async def hear(self):
        received = await next_frame(self.end)
        return received[0] if received else None

    def say(self, frame) -> None:
        seqpacket.send(self.end, codec.encode(frame))

    async def synced(self, *trees) -> None:
        """Acknowledge the sync that begins each wire."""
        assert await self.hear() == desired.SyncBegin()
        for task in trees:
            assert await self.change() == task
        end = codec.expect(await self.hear(), desired.SyncEnd)
        self.say(desired.Done(end.ask, Status.OK))

    async def change(self, status: int = Status.OK) -> str:
        """Answer one change; the task it was for."""
        begin = await self.hear()
        while not isinstance(begin, desired.Drop) and not isinstance(heard := await self.hear(), desired.TreeEnd):
            assert isinstance(heard, desired.TreeEntry)
        self.say(desired.Done(begin.ask, status))
        return begin.task


class Keys:
    """What ``sealed`` gave out."""

    def __init__(self) -> None:
        self.given: list[bytearray] = []
        self.refusal: Exception | None = None

    async def sealed(self, content: VersionRef) -> Sealed:
        await trio.lowlevel.checkpoint()
        assert content == A1
        if self.refusal:
            raise self.refusal
        self.given.append(bytearray(KEY))
        return Sealed(self.given[-1], CIPHERTEXT, CONTEXT)


@asynccontextmanager
async def running(desired=None):
    """A link that runs, and what it asks for keys."""
    keys = Keys()
    link = FsLink(sealed=keys.sealed, trees=lambda: desired or {})
    fss: list[Fs] = []

    def fs() -> Fs:
        fss.append(Fs(link))
        return fss[-1]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        yield link, fs, keys
        nursery.cancel_scope.cancel()
    for one in fss:
        one.end.close()
        assert not any(one.mailbox[:]), "nothing is left in a mailbox"
    assert not any(map(any, keys.given)), "no data key is left"


class Outcome:
    """What became of a call."""

    def __init__(self, nursery, call, *arguments) -> None:
        self.returned, self.refusal = False, None
        self.done = trio.Event()
        nursery.start_soon(self._run, call, arguments)

    async def _run(self, call, arguments):
        try:
            await call(*arguments)
            self.returned = True
        except (NotFoundError, UnavailableError, UnsealError) as refusal:
            self.refusal = refusal
        self.done.set()


async def test_a_tree_that_a_fresh_fs_refuses_is_told_of():
    refused: list[str] = []
    keys = Keys()
    link = FsLink(sealed=keys.sealed, trees=lambda: {T1: TREE, T2: TREE}, refused=refused.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        fs = Fs(link)
        assert await fs.hear() == desired.SyncBegin()
        assert [await fs.change(Status.ARENA_FULL), await fs.change()] == [T1, T2]
        end = codec.expect(await fs.hear(), desired.SyncEnd)
        fs.say(desired.Done(end.ask, Status.OK))
        await wait_all_tasks_blocked()
        assert refused == [T1]
        nursery.cancel_scope.cancel()
    fs.end.close()


async def test_a_drain_is_said_before_its_entry_unless_it_is_the_usual_one():
    tree = tree_of([Entry(Kind.SECRET, "a", 1, 2, 0o440, A1, 5, 1500), *list(TREE.values())[1:]])
    async with running() as (link, new_fs, _), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced()
        put = Outcome(nursery, link.put_tree, T1, tree)
        begin = await fs.hear()
        assert [await fs.hear() for _ in range(3)] == [desired.TreeDrain(1500), *ENTRY_FRAMES]
        assert await fs.hear() == desired.TreeEnd(begin.ask)
        fs.say(desired.Done(begin.ask, Status.OK))
        await put.done.wait()


async def test_a_tree_is_said_its_values_given_and_waited_for():
    async with running() as (link, new_fs, keys), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced()
        put = Outcome(nursery, link.put_tree, T1, TREE)
        begin = await fs.hear()
        assert begin == desired.TreeBegin(begin.ask, T1)
        assert [await fs.hear(), await fs.hear()] == ENTRY_FRAMES
        assert await fs.hear() == desired.TreeEnd(begin.ask)
        fs.say(desired.Need(0, 1, "a" * 25))
        assert await fs.hear() == desired.Fill(0, len(CONTEXT), len(CIPHERTEXT))
        mail = KEY + CONTEXT + CIPHERTEXT
        assert fs.mailbox[: len(mail)] == mail
        assert keys.given == [bytearray(DATA_KEY_BYTES)], "wiped as soon as it is in the mailbox"
        assert not put.done.is_set()
        fs.say(desired.Done(begin.ask, Status.OK))
        await put.done.wait()
        assert put.returned


async def test_each_wire_begins_with_every_tree():
    async with running({T1: TREE, T2: {}}) as (_link, new_fs, _keys):
        for _ in range(2):
            fs = new_fs()
            await fs.synced(T1, T2)
            fs.end.close()


@pytest.mark.parametrize(
    ("status", "refusal", "text"),
    [
        (Status.ARENA_FULL, ArenaFullError, f"task {T1}: the arena is full: raise --arena-max, or grant less"),
        (Status.UNSEAL_FAILED, UnsealError, f"task {T1}: a value could not be opened: "),
        (Status.NO_VALUE, NotFoundError, f"task {T1}: a value is missing or damaged in the store; "),
        (Status.WITHHELD, LockedError, "Swarm is encrypted and needs to be unlocked before it can be used."),
        (Status.MALFORMED, UnavailableError, f"task {T1}: the file system refused the tree"),
    ],
)
@pytest.mark.parametrize("call", ["put_tree", "drop_tree"])
async def test_a_refusal_is_the_callers_and_the_link_goes_on(status, refusal, text, call):
    async with running() as (link, new_fs, _keys), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced()
        arguments = (T1, TREE) if call == "put_tree" else (T1,)
        first = Outcome(nursery, getattr(link, call), *arguments)
        await fs.change(status)
        await first.done.wait()
        assert type(first.refusal) is refusal
        assert str(first.refusal).startswith(text)
        second = Outcome(nursery, link.drop_tree, T2)
        assert await fs.change() == T2
        await second.done.wait()
        assert second.returned


async def test_a_value_that_cannot_be_given_is_said_to_fs_and_to_the_log(capfd):
    async with running() as (link, new_fs, keys), trio.open_nursery() as nursery:
        keys.refusal = UnsealError("the value could not be opened")
        fs = new_fs()
        await fs.synced()
        put = Outcome(nursery, link.put_tree, T1, TREE)
        begin, *_ = [await fs.hear() for _ in range(4)]
        fs.say(desired.Need(0, 1, "a" * 25))
        assert await fs.hear() == desired.NoFill(0)
        fs.say(desired.Done(begin.ask, Status.NO_VALUE))
        await put.done.wait()
        assert isinstance(put.refusal, NotFoundError)
    line = json.loads(capfd.readouterr().err.splitlines()[0])
    assert line["object"] == "a" * 25


async def dies_after(fs: Fs, words: int) -> None:
    """fs hears so many words of a put with one value, answers them as it should, and is gone."""
    for word in range(words):
        if word == 4:
            fs.say(desired.Need(0, 1, "a" * 25))
        await fs.hear()
    fs.end.close()


@pytest.mark.parametrize("words", range(6))
async def test_a_change_is_said_again_to_the_successor_of_an_fs_that_died_at_any_word(words):
    async with running({T2: {}}) as (link, new_fs, _keys), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced(T2)
        put = Outcome(nursery, link.put_tree, T1, TREE)
        await wait_all_tasks_blocked()
        behind = Outcome(nursery, link.drop_tree, T2)
        await dies_after(fs, words)
        successor = new_fs()
        await successor.synced(T2)
        assert await successor.change() == T1
        assert await successor.change() == T2
        await put.done.wait()
        await behind.done.wait()
        assert (put.returned, behind.returned) == (True, True)
        assert not any(fs.mailbox[:]), "the dead fs's mailbox is wiped at once"


@pytest.mark.parametrize("words", range(5))
async def test_an_fs_that_dies_while_it_is_told_everything_is_followed_by_the_next(words):
    async with running({T1: TREE}) as (link, new_fs, _keys), trio.open_nursery() as nursery:
        put = Outcome(nursery, link.put_tree, T2, {})
        fs = new_fs()
        for _ in range(words):
            await fs.hear()
        fs.end.close()
        successor = new_fs()
        await successor.synced(T1)
        assert await successor.change() == T2
        await put.done.wait()
        assert put.returned


async def test_an_fs_that_dies_while_nothing_is_asked_is_noticed_before_the_next_change():
    async with running() as (link, new_fs, _keys), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced()
        await wait_all_tasks_blocked()
        fs.end.close()
        await wait_all_tasks_blocked()
        put = Outcome(nursery, link.put_tree, T1, TREE)
        successor = new_fs()
        await successor.synced()
        assert await successor.change() == T1
        await put.done.wait()


@pytest.mark.parametrize(
    "answer",
    [pulse.Ready(), desired.Done(10**6, Status.OK), desired.NoFill(0), pulse.Pong(1), "unknown status", b"\xff"],
)
async def test_an_fs_out_of_step_is_left_for_its_successor(answer):
    async with running() as (link, new_fs, _keys), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced()
        put = Outcome(nursery, link.put_tree, T1, {})
        begin = await fs.hear()
        await fs.hear()
        if answer == "unknown status":
            fs.say(desired.Done(begin.ask, 77))
        elif isinstance(answer, bytes):
            fs.end.send(answer)
        else:
            fs.say(answer)
        assert await fs.hear() is None, "control has closed its end"
        successor = new_fs()
        await successor.synced()
        assert await successor.change() == T1
        await put.done.wait()
        assert put.returned


async def test_of_several_wires_the_newest_is_used_and_the_others_are_closed():
    async with running() as (_link, new_fs, _keys):
        old, older = new_fs(), new_fs()
        newest = new_fs()
        await newest.synced()
        assert [await old.hear(), await older.hear()] == [None, None]


async def test_a_tree_that_fs_refuses_at_the_beginning_is_logged_and_the_others_go_on(capfd):
    async with running({T1: TREE, T2: {}}) as (_link, new_fs, _keys):
        fs = new_fs()
        assert await fs.hear() == desired.SyncBegin()
        assert await fs.change(Status.UNSEAL_FAILED) == T1
        assert await fs.change() == T2
        end = await fs.hear()
        assert isinstance(end, desired.SyncEnd)
        fs.say(desired.Done(end.ask, Status.OK))
        await wait_all_tasks_blocked()
    line = json.loads(capfd.readouterr().err.splitlines()[0])
    assert line["task"] == T1


async def test_a_caller_waits_so_long_and_the_change_is_still_made_in_its_turn(autojump_clock):
    async with running() as (link, new_fs, _keys), trio.open_nursery() as nursery:
        late = Outcome(nursery, link.put_tree, T1, TREE)
        await late.done.wait()
        assert str(late.refusal) == f"the file system did not answer within {ANSWER_SECONDS:g} s"
        fs = new_fs()
        await fs.synced()
        assert await fs.change() == T1


async def test_a_caller_that_goes_away_leaves_the_words_in_order():
    async with running() as (link, new_fs, _keys), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(link.put_tree, T1, TREE)
                await fs.hear()
                scope.cancel()
        second = Outcome(nursery, link.put_tree, T2, {})
        begin = [await fs.hear() for _ in range(3)]
        assert isinstance(begin[-1], desired.TreeEnd)
        fs.say(desired.Done(begin[-1].ask, Status.OK))
        assert await fs.change() == T2
        await second.done.wait()
        assert second.returned


async def test_control_ends_when_no_fs_comes(autojump_clock):
    link = FsLink(sealed=Keys().sealed, trees=dict)
    with pytest.raises(LinkError, match=f"no fs within {REWIRE_SECONDS:g} s"):
        await link.run()
    assert trio.current_time() >= REWIRE_SECONDS


async def test_a_link_that_is_ended_in_the_middle_leaves_nothing_in_the_mailbox():
    async with running() as (link, new_fs, _keys), trio.open_nursery() as nursery:
        fs = new_fs()
        await fs.synced()
        nursery.start_soon(link.put_tree, T1, TREE)
        for _ in range(4):
            await fs.hear()
        fs.say(desired.Need(0, 1, "a" * 25))
        await fs.hear()
        assert any(fs.mailbox[:])
        nursery.cancel_scope.cancel()
