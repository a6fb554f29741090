"""The order and the threads of notifications."""

import threading

import pyfuse3
import pytest
import trio
import trio.testing

from secretfs.fs import flush
from secretfs.fs.manifest import Act, Notice

HELD, CHANGES = 5, 300


@pytest.fixture
def kernel(monkeypatch):
    """A kernel in which a client holds the lock of directory 5; what it was told, in order."""
    told: list[tuple[str, int]] = []
    released = threading.Event()

    def entry(parent: int, name: bytes) -> None:
        if parent == HELD:
            released.wait(10)
        told.append(("name", parent))

    monkeypatch.setattr(pyfuse3, "notify_store", lambda ino, *_: told.append(("zeros", ino)))
    monkeypatch.setattr(pyfuse3, "invalidate_inode", lambda ino, **_: told.append(("pages", ino)))
    monkeypatch.setattr(pyfuse3, "invalidate_entry", entry)
    yield told, released
    released.set()


def gone(number: int, parent: int) -> Notice:
    return Notice(number, Act.FORGET, number, parent, 10, f"f{number}")


async def test_a_client_that_holds_a_directory_delays_nobody_else(kernel):
    told, released = kernel
    async with trio.open_nursery() as nursery:
        for number in range(CHANGES):
            nursery.start_soon(_told, (gone(1000 + number, HELD),))
        await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.fail_after(5):
            done = await flush.tell((gone(1, 7),), wipe=lambda: told.append(("wiped", 0)))
        assert [notice.number for notice in done] == [1]
        assert [what for what in told if what[1] in (0, 1, 7)] == [
            ("zeros", 1),
            ("pages", 1),
            ("wiped", 0),
            ("name", 7),
        ]
        assert told.count(("name", HELD)) == 0
        released.set()
    assert told.count(("name", HELD)) == CHANGES


async def _told(notices: tuple[Notice, ...]) -> None:
    await flush.tell(notices, wipe=lambda: None)
