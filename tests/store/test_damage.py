"""Changed bytes: the record is named, nothing is served from it, everything else goes on."""

# ruff: noqa: ASYNC240 - a test has no other task to hold up

import random
from contextlib import suppress
from pathlib import Path

import pytest

from secretfs.errors import CorruptRecordError, StoreError
from secretfs.store.base import Changes, Del, Guard, Item, Op, Put
from secretfs.store.sqlite import opened


async def filled(path: Path, *ops: Op) -> None:
    async with opened(path) as store:
        await store.commit([], ops)


def change(path: Path, needle: bytes, *, nth: int = 0) -> None:
    """Flip a bit of the nth occurrence, as a disk would."""
    data, at = bytearray(path.read_bytes()), -1
    for _ in range(nth + 1):
        at = data.index(needle, at + 1)
    data[at + len(needle) // 2] ^= 4
    path.write_bytes(data)


DAMAGED = "record 'secret/b' is damaged: its bytes are not what was written"


async def test_a_record_whose_bytes_were_changed_is_named_and_the_others_go_on(path: Path) -> None:
    await filled(path, *(Put(f"secret/{name}", b"value of " + name.encode() * 20) for name in "abc"))
    change(path, b"b" * 20)
    async with opened(path) as store:
        with pytest.raises(CorruptRecordError) as caught:
            await store.get("secret/b")
        assert str(caught.value) == DAMAGED
        listing = await store.list("secret/")
        assert [item.key for item in listing.items] == ["secret/a", "secret/c"]
        assert listing.damaged == ("secret/b",)
        answer = await store.watch("secret/", 0)
        assert isinstance(answer, Changes)
        assert [key for key, _ in answer.changes] == ["secret/a", "secret/c"]
        assert answer.damaged == ("secret/b",)


async def test_a_damaged_record_guards_nothing_and_can_be_removed(path: Path) -> None:
    await filled(path, Put("secret/a", b"a" * 20), Put("secret/b", b"b" * 20))
    change(path, b"b" * 20)
    async with opened(path) as store:
        with pytest.raises(CorruptRecordError) as caught:
            await store.commit([Guard("secret/b", 1)], [Put("secret/a", b"new")])
        assert str(caught.value) == DAMAGED
        assert await store.get("secret/a") == Item("secret/a", b"a" * 20, 1)
        assert await store.commit([], [Del("secret/b")]) == 2
        assert (await store.list("")).damaged == ()
        assert await store.get("secret/b") is None


async def test_a_damaged_copy_of_a_key_hides_no_record(path: Path) -> None:
    """A key stands in the table, in its index and in the log."""
    key = "name/" + "k" * 40
    await filled(path, Put("name/a", b"1"), Put(key, b"2"), Put("name/z", b"3"))
    whole = path.read_bytes()
    assert whole.count(key.encode()) == 3
    for nth in range(3):
        path.write_bytes(whole)
        change(path, key.encode(), nth=nth)
        async with opened(path) as store:
            assert await store.get(key) == Item(key, b"2", 1)
            listing = await store.list("name/")
            assert [item.key for item in listing.items if item.key != key] == ["name/a", "name/z"]
            assert key in [item.key for item in listing.items] or listing.damaged


WRITTEN = {f"k/{n:02}": b"%d" % n * (1 + 40 * n) for n in range(30)}


async def read_all(path: Path) -> None:
    """Whatever the damage: each record is as written, or named, or the store refuses; never something else."""
    async with opened(path) as store:
        for key, value in WRITTEN.items():
            try:
                item = await store.get(key)
            except CorruptRecordError as exc:
                assert repr(key) in str(exc)  # noqa: PT017 - either is right
            else:
                assert item is None or item.value == value
        for item in (await store.list("", limit=100)).items:
            assert item.value == WRITTEN[item.key]


async def test_no_changed_byte_anywhere_is_ever_served(path: Path) -> None:
    await filled(path, *(Put(key, value) for key, value in WRITTEN.items()))
    whole, chance = path.read_bytes(), random.Random(1)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 8])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        with suppress(StoreError):
            await read_all(path)
        for rest in path.parent.glob("store.db-*"):
            rest.unlink()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"WITHOUT ROWID", b"WITHOUT \xcf\xcfWID", "its schema cannot be read"),
        (b"CREATE TABLE log", b"CREATE TABLE lo ", "malformed database schema (log)"),
    ],
)
async def test_a_schema_that_was_changed_is_refused_as_damaged(path: Path, old: bytes, new: bytes, reason: str) -> None:
    await filled(path, Put("a", b""))
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(StoreError) as caught:
        await filled(path)
    assert str(caught.value) == f"store '{path}' is damaged: {reason}"
