"""A full disk: what adds is refused and loses nothing, what takes away is done, kill -9 or not."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretfs.errors import StoreError, StoreFullError
from secretfs.store.base import Del, Guard, Op, Put
from secretfs.store.reserve import MAX_BYTES, Reserve
from secretfs.store.sqlite import SqliteStore, opened

VALUE_BYTES = 60_000
SMALL_BYTES = 2000


@pytest.fixture(params=["400k", "2m"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    options = f"size={request.param},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


def created(n: int, size: int = VALUE_BYTES) -> tuple[list[Guard], list[Op]]:
    """A secret as control writes it: its record, its name, its value, an audit record."""
    keys = (f"secret/{n:05}", f"name/{n:05}")
    value = Put(f"value/{n:05}", n.to_bytes(4, "big") * (size // 4))
    ops = (*(Put(key, b"r" * 300) for key in keys), value, Put(f"audit/create/{n:05}", b"a" * 200))
    return [Guard(key, 0) for key in keys], list(ops)


def removed(n: int) -> tuple[list[Guard], list[Op]]:
    ops = (*(Del(f"{noun}/{n:05}") for noun in ("secret", "name", "value")), Put(f"audit/rm/{n:05}", b"a" * 200))
    return [], list(ops)


async def fill(store: SqliteStore, start: int = 0, size: int = VALUE_BYTES) -> int:
    """Create until that is refused; the number of the first that was."""
    for n in itertools.count(start):
        try:
            await store.commit(*created(n, size))
        except StoreFullError:
            break
    return n


def take_all_room(directory: Path) -> None:
    """As anything else on that disk may."""
    with (directory / "others").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(directory).f_bavail == 0


async def numbers(store: SqliteStore) -> list[int]:
    listing = await store.list("value/", limit=100_000)
    assert listing.damaged == ()
    assert all(item.value[:4] == int(item.key[-5:]).to_bytes(4, "big") for item in listing.items)
    return [int(item.key[-5:]) for item in listing.items]


@pytest.mark.parametrize("size", [SMALL_BYTES, VALUE_BYTES])
async def test_everything_can_be_removed_from_a_full_disk_and_then_created_again(small_disk: Path, size: int) -> None:
    async with opened(small_disk / "store.db") as store:
        end = await fill(store, size=size)
        end = max(end, await fill(store, end, size=40))  # the last corner, too
        assert end >= 2
        assert await numbers(store) == list(range(end))
        take_all_room(small_disk)
        for n in range(end):
            assert isinstance(await store.commit(*removed(n)), int)
        assert await numbers(store) == []
        (small_disk / "others").unlink(missing_ok=True)
        assert await fill(store, 50_000, size=size) > 50_000


async def test_a_full_disk_stays_so_over_a_restart_and_everything_can_be_removed(small_disk: Path) -> None:
    path = small_disk / "store.db"
    async with opened(path) as store:
        end = await fill(store)
    take_all_room(small_disk)
    for n in range(end):
        async with opened(path) as store:
            assert await numbers(store) == list(range(n, end))
            assert isinstance(await store.commit(*removed(n)), int)
            with pytest.raises(StoreFullError):
                await store.commit(*created(60_000, 1_000_000 if n else 10_000_000))


@pytest.mark.parametrize("small_disk", ["2m", "5m", "24m"], indirect=True)
async def test_the_largest_value_can_be_removed_from_a_full_disk(small_disk: Path) -> None:
    async with opened(small_disk / "store.db") as store:
        end = await fill(store, size=1_000_000)
        end = await fill(store, end)
        take_all_room(small_disk)
        for n in range(end):
            assert isinstance(await store.commit(*removed(n)), int)
        assert await numbers(store) == []


async def test_a_grant_is_taken_away_on_a_full_disk_by_a_commit_that_only_shortens(small_disk: Path) -> None:
    async with opened(small_disk / "store.db") as store:
        await store.commit([], [Put("service/web", b"g" * 9000), Put("refs/db", b"web,api")])
        await fill(store)
        await fill(store, 50_000, size=40)
        take_all_room(small_disk)
        for n in range(5):
            ops = [Put("service/web", b"g" * 8000), Put("refs/db", b"api"), Put(f"audit/{n}", b"a" * 200)]
            assert isinstance(await store.commit([], ops), int)


async def test_the_reserve_is_of_no_use_to_what_adds(small_disk: Path) -> None:
    async with opened(small_disk / "store.db") as store:
        await fill(store)
        await fill(store, 50_000, size=40)
        take_all_room(small_disk)
        before = (small_disk / "store.db-reserve").stat().st_size
        for n in range(50):
            with pytest.raises(StoreFullError):
                await store.commit([], [Put(f"service/{n}", b"s"), Put(f"name/{n}", b"n")])
            with pytest.raises(StoreFullError):
                await store.commit([], [Put("value/00000", bytes(300_000)), Del("value/00001")])
        assert (small_disk / "store.db-reserve").stat().st_size == before
        assert isinstance(await store.commit(*removed(0)), int)


async def test_the_log_of_many_small_commits_does_not_fill_the_disk(small_disk: Path) -> None:
    async with opened(small_disk / "store.db") as store:
        for n in range(300):
            await store.commit([], [Put("a", n.to_bytes(4, "big"))])
    assert (small_disk / "store.db").stat().st_size < 100_000


REMOVER = """
import sys, trio
from pathlib import Path
from secretfs.store.base import Del, Put
from secretfs.store.sqlite import opened

async def main(path):
    async with opened(Path(path)) as store:
        for item in (await store.list("value/", limit=10_000)).items:
            n = item.key[-5:]
            ops = [*(Del(f"{noun}/{n}") for noun in ("secret", "name", "value")), Put(f"audit/rm/{n}", b"a" * 200)]
            await store.commit([], ops)
            print(int(n), flush=True)

trio.run(main, sys.argv[1])
"""


def killed_remover(path: Path) -> int:
    """The last that a child said it had removed before it was killed, somewhere in its next commit."""
    with subprocess.Popen([sys.executable, "-c", REMOVER, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline()]
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.readlines()
    return int(acknowledged[-1])


async def test_a_remover_that_is_killed_again_and_again_removes_everything(small_disk: Path) -> None:
    path = small_disk / "store.db"
    async with opened(path) as store:
        end = await fill(store)
    take_all_room(small_disk)
    done = -1
    while done < end - 1:
        done = killed_remover(path)
        async with opened(path) as store:
            left = await numbers(store)
            assert left in (list(range(done + 1, end)), list(range(done + 2, end)))
            done = left[0] - 1 if left else end


# --- the reserve itself ---


def test_the_reserve_is_private_has_its_blocks_and_a_largest_size(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "store.db")
    assert reserve.ensure(1 << 40)
    status = (tmp_path / "store.db-reserve").stat()
    assert status.st_mode & 0o777 == 0o600
    assert MAX_BYTES <= status.st_size <= status.st_blocks * 512
    reserve.fit(1)
    assert (tmp_path / "store.db-reserve").stat().st_size < 1 << 20
    assert [reserve.give_up(), reserve.give_up()] == [True, False]


async def test_a_store_whose_reserve_cannot_be_made_says_so_and_still_takes_away(path: Path) -> None:
    os.symlink("elsewhere", f"{path}-reserve")
    async with opened(path) as store:
        with pytest.raises(StoreError) as caught:
            await store.commit([], [Put("a", b"1")])
        assert str(caught.value) == f"the reserve of store '{path}' cannot be made: Too many levels of symbolic links"
    assert not (path.parent / "elsewhere").exists()
