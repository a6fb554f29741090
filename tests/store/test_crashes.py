"""A full disk and kill -9: what was acknowledged is there, and whole."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretfs.errors import StoreFullError
from secretfs.store.base import Guard, Item, Put
from secretfs.store.sqlite import SqliteStore, opened

# --- a full disk --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


async def fill(store: SqliteStore, acknowledged: list[str]) -> None:
    for n in range(1000):
        await store.commit([Guard(f"k{n:03}", 0)], [Put(f"k{n:03}", b"v" * 10_000)])
        acknowledged.append(f"k{n:03}")


def leave_no_room(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def test_on_a_full_disk_nothing_acknowledged_is_lost_and_reads_go_on(small_disk: Path) -> None:
    path, acknowledged = small_disk / "store.db", list[str]()
    async with opened(path) as store:
        with pytest.raises(StoreFullError) as caught:
            await fill(store, acknowledged)
        assert str(caught.value) == f"the disk of store '{path}' is full: nothing was changed"
        assert len(acknowledged) > 5
        listing = await store.list("")
        assert [item.key for item in listing.items] == acknowledged
        assert listing.rev == len(acknowledged)
        assert await store.get(acknowledged[0]) == Item(acknowledged[0], b"v" * 10_000, 1)
    async with opened(path) as store:
        assert [item.key for item in (await store.list("")).items] == acknowledged
        assert (await store.list("")).damaged == ()


async def test_a_store_on_a_disk_without_any_room_says_so(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        leave_no_room(small_disk / "ballast")
    path = small_disk / "store.db"
    with pytest.raises(StoreFullError) as caught:
        async with opened(path):
            pass
    assert str(caught.value) == f"the disk of store '{path}' is full: nothing was changed"
    (small_disk / "ballast").unlink()
    async with opened(path) as store:
        assert await store.commit([], [Put("a", b"1")]) == 1


# --- kill -9 ------------------------------------------------------------------------------------------------

WRITER = """
import sys, trio
from pathlib import Path
from secretfs.store.base import Del, Put
from secretfs.store.sqlite import opened

async def main(path, start):
    async with opened(Path(path)) as store:
        n = int(start)
        while True:
            ops = [Put(f"a/{n:06}", b"v" * 3000), Put(f"b/{n:06}", b"w"), Del(f"b/{n - 3:06}")]
            rev = await store.commit([], ops)
            print(n, rev, flush=True)
            n += 1

trio.run(main, *sys.argv[1:])
"""


def killed_writer(path: Path, start: int, lines: int) -> list[tuple[int, int]]:
    """What a child acknowledged before it was killed, somewhere in its next commit."""
    command = [sys.executable, "-c", WRITER, str(path), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [(int(n), int(rev)) for n, rev in (line.split() for line in acknowledged)]


async def test_what_a_killed_writer_acknowledged_is_there_and_whole(path: Path) -> None:
    start, last_rev = 0, 0
    for lines in (1, 7, 40, 90):
        acknowledged = killed_writer(path, start, lines)
        async with opened(path) as store:
            listing = await store.list("a/", limit=10_000)
            assert listing.damaged == ()
            written = [int(item.key[2:]) for item in listing.items]
            done = acknowledged[-1][0]
            assert written in (list(range(done + 1)), list(range(done + 2)))
            newest = written[-1]
            others = [int(item.key[2:]) for item in (await store.list("b/")).items]
            assert others == list(range(max(0, newest - 2), newest + 1))
            assert listing.rev >= acknowledged[-1][1] > last_rev
            start, last_rev = newest + 1, listing.rev
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
