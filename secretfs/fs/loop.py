"""How pyfuse3's session loop is driven: look at the device before parking, and never queue for a lock.

As shipped, two thirds of the cost of an open is trio's scheduling: a lock that checkpoints, epoll_ctl, epoll_wait.
pyfuse3 looks ``trio`` up in its module when it runs (pyfuse3.asyncio replaces it the same way), so it gets a namespace
of its own. There is one worker, and no handler waits, so the lock has nobody to keep out.

The device is O_NONBLOCK: with a blocking one, a request that vanished (its reader was killed) between poll and read
would freeze fs until the next one. EAGAIN then ends the loop, which is started again; pyfuse3 leaks its 1 MiB buffer
each time, so fs asks to be replaced after ``MAX_RESTARTS`` of them.
"""

import errno
import select
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Final, Protocol

import pyfuse3
import trio

MAX_RESTARTS: Final = 64
_FAIR_SHARE: Final = 64  # requests between two turns of the other tasks


class _FreeLock:
    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, *_exc: object) -> None:
        return


class Readiness:
    """Waits for the device: poll, then spin, then park. Reports the first wait, and at each that what came before is
    answered.
    """

    def __init__(
        self,
        spin_seconds: float,
        *,
        ready: Callable[[], None],
        answered: Callable[[], None],
    ) -> None:
        self._spin_seconds = spin_seconds
        self._ready = ready
        self._answered = answered
        self._announced = False
        self._poll = select.poll()
        self._registered: int | None = None
        self._turn = 0

    async def wait(self, fd: int) -> None:
        """Return when the device has a request, or seems to."""
        if not self._announced:
            self._announced = True
            self._ready()
        self._answered()
        if fd != self._registered:
            self._poll.register(fd, select.POLLIN)
            self._registered = fd
        self._turn += 1
        if self._turn % _FAIR_SHARE == 0:
            await trio.lowlevel.checkpoint()
        if self._poll.poll(0) or self._spin():
            return
        self._turn = 0
        await trio.lowlevel.wait_readable(fd)

    def _spin(self) -> bool:
        if not self._turn or not self._spin_seconds:
            return False
        until = time.perf_counter() + self._spin_seconds
        while time.perf_counter() < until:
            if self._poll.poll(0):
                return True
        return False


class Waits(Protocol):
    """Whoever waits for the device."""

    def wait(self, fd: int) -> Awaitable[None]:
        """Return when it has a request. Raises trio.ClosedResourceError when no more are to be answered."""


def install(readiness: Waits) -> None:
    """Give pyfuse3 the scheduling described above."""
    pyfuse3.trio = SimpleNamespace(  # type: ignore[attr-defined]
        open_nursery=trio.open_nursery,
        Lock=_FreeLock,
        ClosedResourceError=trio.ClosedResourceError,
        lowlevel=SimpleNamespace(
            current_task=trio.lowlevel.current_task,
            current_trio_token=trio.lowlevel.current_trio_token,
            wait_readable=readiness.wait,
            notify_closing=trio.lowlevel.notify_closing,
        ),
    )


async def serve() -> bool:
    """Answer the kernel until the connection ends (False) or fs should be replaced (True)."""
    for _ in range(MAX_RESTARTS):
        if not await _serve_until_vanished():
            return False
    return True


async def _serve_until_vanished() -> bool:
    """Whether it was EAGAIN that ended the loop, a request that vanished; False: the connection is over."""
    try:
        await pyfuse3.main(min_tasks=1, max_tasks=1)
    except* OSError as failures:
        if any(failure.errno != errno.EAGAIN for failure in _leaves(failures)):
            raise
    else:
        return False
    return True


def _leaves(group: BaseExceptionGroup[OSError]) -> list[OSError]:
    found: list[OSError] = []
    for member in group.exceptions:
        found += _leaves(member) if isinstance(member, BaseExceptionGroup) else [member]
    return found
