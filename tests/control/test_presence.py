"""Who waits for what: woken by the change that was missing, bounded in time and number."""

import pytest
import trio
import trio.testing
from control_harness import ME

from secretfs.control.presence import MAX_WAITING, Presence
from secretfs.control.usecases.secrets import Draft
from secretfs.core.names import Kind


@pytest.fixture
def presence(control):
    return Presence(control.store)


async def test_what_is_there_is_not_waited_for(control, presence):
    await control.secret("db", b"1")
    await control.service("web", "db")
    assert await presence.missing("WEB", ["db"], 10) == []
    assert await presence.missing(None, [], 10) == []


async def test_who_waits_is_woken_by_the_last_thing_that_was_missing(control, presence):
    found = []

    async def wait() -> None:
        found.append(await presence.missing("web", ["db"], 20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await control.secret("db", b"1")
        await control.service("web")
        assert not found
        await control.update("web", "db")
    assert found == [[]]


async def test_when_the_time_is_over_what_is_missing_is_named(control, presence):
    await control.secret("db", b"1")
    await control.service("web")
    assert await presence.missing("web", ["db", "gone"], 0.01) == ["secret gone", "secret db of service web"]
    assert await presence.missing("other", ["gone"], -1) == ["service other", "secret gone"]


async def test_a_config_is_no_secret(control, presence):
    await control.secrets.create(ME, Draft(Kind.CONFIG, "db", {}), bytearray(b"1"))
    assert await presence.missing(None, ["db"], 0) == ["secret db"]


async def test_who_finds_no_place_to_wait_is_answered_at_once(presence):
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_WAITING):
            nursery.start_soon(presence.missing, None, ["gone"], 20)
        await trio.testing.wait_all_tasks_blocked()
        assert await presence.missing(None, ["gone"], 20) == ["secret gone"]
        nursery.cancel_scope.cancel()
