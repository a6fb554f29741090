from secretfs.control.audit import Caller
from secretfs.control.frontends import refusals
from secretfs.control.frontends.refusals import Refusals
from secretfs.errors import StoreFullError


class Kept:
    """The audit."""

    def __init__(self) -> None:
        self.records: list[tuple[int, str, str, int]] = []
        self.full = False

    async def refused(self, caller: Caller, service: str, reason: str, *, more: int = 0) -> None:
        if self.full:
            raise StoreFullError("the store is full")
        self.records.append((caller.uid, service, reason, more))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def caller(uid: int) -> Caller:
    return Caller(uid, uid, 1)


async def refused(made: Refusals, uid: int) -> None:
    if made.room(caller(uid)):
        await made.keep(caller(uid), "web", "no")


async def test_a_user_fills_his_bucket_and_is_counted_from_then_on(capfd):
    kept, clock = Kept(), Clock()
    made = Refusals(kept, clock=clock)
    for _ in range(1000):
        await refused(made, 4321)
    assert len(kept.records) == refusals.BURST
    await refused(made, 4322)
    assert kept.records[-1] == (4322, "web", "no", 1000 - refusals.BURST)
    clock.now += refusals.REFILL_SECONDS
    for _ in range(10):
        await refused(made, 4321)
    assert len(kept.records) == refusals.BURST + 2, "one more in each time"
    assert len(capfd.readouterr().err.splitlines()) == len(kept.records)


async def test_a_user_of_many_uids_fills_the_bucket_of_all():
    kept, clock = Kept(), Clock()
    made = Refusals(kept, clock=clock)
    for uid in range(100_000, 103_000):
        await refused(made, uid)
    assert len(kept.records) == refusals.BURST_OF_ALL
    assert len(made._of_uid) <= refusals.MAX_UIDS


async def test_a_store_that_is_full_is_said_and_survived(capfd):
    kept = Kept()
    kept.full = True
    await refused(Refusals(kept, clock=Clock()), 4321)
    assert "the audit lacks a refusal" in capfd.readouterr().err
