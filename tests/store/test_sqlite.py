"""What only the SQLite engine promises: its file, its refusals, its thread, its log."""

# ruff: noqa: ASYNC240 - a test has no other task to hold up

import os
import random
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from secretfs.errors import (
    SetupError,
    StoreError,
)
from secretfs.store import rows
from secretfs.store.base import Changes, Compacted, Conflict, Del, Item, Op, Put
from secretfs.store.rows import LOG_BYTES
from secretfs.store.sqlite import YIELD_GETS, SqliteStore, opened
from secretfs.store.watches import Watches


async def filled(path: Path, *ops: Op) -> None:
    async with opened(path) as store:
        await store.commit([], ops)


async def refusal(path: Path) -> str:
    with pytest.raises((SetupError, StoreError)) as caught:
        async with opened(path):
            pass
    return f"{type(caught.value).__name__}: {caught.value}"


# --- the file -----------------------------------------------------------------------------------------------


async def test_every_file_of_the_store_is_private(path: Path) -> None:
    umask = os.umask(0)
    try:
        async with opened(path) as store:
            await store.commit([], [Put("a", b"")])
            files = {name: stat.S_IMODE((path.parent / name).stat().st_mode) for name in os.listdir(path.parent)}
    finally:
        os.umask(umask)
    names = ("store.db", "store.db-wal", "store.db-shm", "store.db-reserve")
    assert files == dict.fromkeys(names, 0o600)


async def test_a_closed_store_is_one_file_and_its_reserve(path: Path) -> None:
    await filled(path, Put("a", b""))
    assert sorted(os.listdir(path.parent)) == ["store.db", "store.db-reserve"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o666])
async def test_a_store_that_is_open_to_others_is_refused(path: Path, mode: int) -> None:
    await filled(path)
    path.chmod(mode)
    assert await refusal(path) == (f"SetupError: store '{path}' is open to others (mode 0{mode:o}): chmod 0600 {path}")


async def test_a_store_of_another_user_is_refused(path: Path) -> None:
    await filled(path)
    os.chown(path, 12345, -1)
    assert await refusal(path) == f"SetupError: store '{path}' belongs to uid 12345, not to {os.geteuid()}"


async def test_what_is_no_regular_file_is_refused(path: Path) -> None:
    path.mkdir()
    assert await refusal(path) == f"SetupError: store '{path}' is not a regular file"
    link = path.with_name("link")
    link.symlink_to("nowhere")
    assert await refusal(link) == f"SetupError: store '{link}' is not a regular file"


async def test_a_directory_that_is_not_there_is_said(path: Path) -> None:
    missing = path.parent / "missing" / "store.db"
    assert await refusal(missing) == (f"SetupError: store '{missing}' cannot be made: No such file or directory")


async def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    await filled(path, Put("a", b""))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    before = path.read_bytes()
    assert await refusal(path) == (
        f"StoreVersionError: store '{path}' was written by a newer secretfs (schema 7, this one knows 1)"
    )
    assert path.read_bytes() == before


async def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.touch(mode=0o600)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    assert await refusal(path) == f"StoreVersionError: '{path}' is no secretfs store"
    assert path.read_bytes() == before


async def test_a_file_of_other_bytes_is_refused_and_left_as_it_is(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_bytes(b"hello, this is a letter\n" * 100)
    assert await refusal(path) == f"StoreVersionError: '{path}' is no secretfs store"
    assert path.read_bytes() == b"hello, this is a letter\n" * 100


async def test_an_empty_file_of_a_start_that_was_killed_becomes_a_store(path: Path) -> None:
    path.touch(mode=0o600)
    await filled(path, Put("a", b"1"))
    async with opened(path) as store:
        assert await store.get("a") == Item("a", b"1", 1)


async def test_deleted_bytes_are_in_no_file(path: Path) -> None:
    needle = os.urandom(64)
    async with opened(path) as store:
        await store.commit([], [Put("keep", b"k"), Put("value", needle * 100)])
        files = list(path.parent.iterdir())
        assert any(needle in file.read_bytes() for file in files)
        await store.commit([], [Del("value")])
        assert not any(needle in file.read_bytes() for file in path.parent.iterdir())
        assert await store.get("keep") == Item("keep", b"k", 1)


async def test_erased_bytes_are_in_no_file_whatever_moved_the_record_about(path: Path) -> None:
    dice = random.Random(7)
    before = b""
    async with opened(path) as store:
        for _ in range(60):
            neighbours = {f"n/{dice.randrange(100):03d}": os.urandom(dice.randrange(900)) for _ in range(6)}
            await store.commit([], [Put(key, value) for key, value in neighbours.items()])
            needle = os.urandom(dice.choice([32, 64, 108, 300]))
            await store.commit([], [Put("n/050x", needle, erase=True)])
            files = b"".join(file.read_bytes() for file in path.parent.iterdir())
            assert needle in files
            assert not any(before[at : at + 16] in files for at in range(0, len(before) - 15, 8))
            before = needle


async def test_another_process_that_keeps_the_lock_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secretfs.store.schema.BUSY_SECONDS", 0)
    async with opened(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            await store.commit([], [Put("a", b"")])
        other.close()
        assert str(caught.value) == f"store '{path}' is in use by another process"
        assert await store.commit([], [Put("a", b"")]) == 1


# --- cancellation -------------------------------------------------------------------------------------------


async def test_a_commit_that_was_begun_is_answered_though_it_is_cancelled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, answers = threading.Event(), threading.Event(), list[int | Conflict]()
    commit = rows.commit

    def held(*args: object) -> int | Conflict:
        begun.set()
        assert go.wait(10)
        return commit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "commit", held)

    async def act(store: SqliteStore) -> None:
        answers.append(await store.commit([], [Put("a", b"1"), Del("b")]))

    async with opened(path) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(act, store)
            await trio.to_thread.run_sync(begun.wait)
            nursery.cancel_scope.cancel()
            go.set()
        assert answers == [1]
        assert await store.get("a") == Item("a", b"1", 1)


async def test_a_commit_that_waits_its_turn_is_not_begun_when_cancelled(path: Path) -> None:
    async with opened(path) as store:
        async with store._writing, trio.open_nursery() as nursery:
            nursery.start_soon(store.commit, [], [Put("a", b"")])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert await store.get("a") is None


# --- the log ------------------------------------------------------------------------------------------------


async def test_a_watch_from_before_what_the_log_keeps_says_list_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "KEEP_REVISIONS", 3)
    async with opened(path) as store:
        for n in range(10):
            await store.commit([], [Put(f"k{n}", b"")])
        assert await store.watch("", 6) == Compacted(7)
        answer = await store.watch("", 7)
        assert isinstance(answer, Changes)
        assert [key for key, _ in answer.changes] == ["k7", "k8", "k9"]


async def test_errors_name_a_store_as_others_find_it(path: Path) -> None:
    """Whoever reads them does not see the mount namespace in which it was opened."""
    path.write_bytes(b"no store" * 999)
    path.chmod(0o600)
    with pytest.raises(StoreError) as caught:
        async with opened(path, Path("/var/lib/x.db")):
            pass
    assert str(caught.value) == "'/var/lib/x.db' is no secretfs store"


async def test_a_log_of_small_commits_is_used_again_and_none_of_what_is_deleted_stays(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    async with opened(path) as store:
        sizes = set()
        for n in range(600):
            await store.commit([], [Put(f"a{n:03}", b"once %03d " % n * 300)])
            sizes.add(log.stat().st_size)
        assert LOG_BYTES <= max(sizes) <= LOG_BYTES + 64 * 1024  # one commit more
        assert min(list(sizes)[-100:]) > 0
        await store.commit([], [Del(f"a{n:03}") for n in range(600)])
        assert b"once" not in path.read_bytes() + log.read_bytes()


async def test_what_need_not_be_erased_leaves_the_log_as_it_is(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    async with opened(path) as store:
        await store.commit([], [Put("a", b"1"), Put("b", b"2")])
        await store.commit([], [Del("a", erase=False)])
        assert await store.get("a") is None
        assert log.stat().st_size > 0
        await store.commit([], [Del("b")])
        assert log.stat().st_size == 0


async def test_a_record_that_cannot_be_read_at_once_is_read_in_a_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as store:
        await store.commit([], [Put("a", b"1")])
        asked = []
        real = rows.get

        def busy_at_first(db: sqlite3.Connection, key: str) -> Item | None:
            asked.append(threading.current_thread() is threading.main_thread())
            if len(asked) == 1:
                raise sqlite3.OperationalError("database is locked")
            return real(db, key)

        monkeypatch.setattr(rows, "get", busy_at_first)
        item = await store.get("a")
        assert item is not None
        assert item.value == b"1"
        assert asked == [True, False]


async def test_who_reads_much_lets_others_have_a_turn(path: Path) -> None:
    turns = []

    async def other() -> None:
        while True:
            turns.append(1)
            await trio.lowlevel.checkpoint()

    async with opened(path) as store, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(4 * YIELD_GETS):
            assert await store.get("nothing") is None
        nursery.cancel_scope.cancel()
    assert len(turns) >= 3


async def test_a_watch_reads_the_store_for_what_is_below_its_prefix_and_for_nothing_else(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    changes = rows.changes

    def counted(db: sqlite3.Connection, prefix: str, from_rev: int) -> Changes | Compacted:
        looks.append(from_rev)
        return changes(db, prefix, from_rev)

    monkeypatch.setattr(rows, "changes", counted)
    async with trio.open_nursery() as nursery:
        answers = []

        async def watch() -> None:
            answers.append(await store.watch("w/", 0))

        nursery.start_soon(watch)
        await wait_all_tasks_blocked(0.1)
        for number in range(10):
            await store.commit([], [Put(f"other/{number}", b"x")])
        await wait_all_tasks_blocked(0.1)
        assert looks == [0]
        await store.commit([], [Put("w/a", b"x")])
    assert looks == [0, 10], "and what others did does not make the look longer"
    assert answers == [Changes(11, (("w/a", Item("w/a", b"x", 11)),))]


def test_a_watch_that_was_woken_goes_on_from_where_it_was() -> None:
    watches = Watches()
    with watches.watch("w/", 5) as watch:
        watches.committed([Put("w/a", b"x")], 6)
        watches.committed([Del("not there")], 6)  # changed nothing: the revision is the one before
        assert watch.rev == 5
