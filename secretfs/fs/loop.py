"""How fs waits: one poll for the device and for trio, and nothing of trio on the way of a request.

As shipped, two thirds of the cost of an open is trio's scheduling: a lock that checkpoints, epoll_ctl, epoll_wait, a
turn of the run loop. Here trio is a guest (trio.lowlevel.start_guest_run): it waits for its own descriptors in a
thread, and writes an eventfd when it wants a turn. The host, in the main thread, drives the coroutine of
``pyfuse3.main``. That never waits: no handler does, and where pyfuse3 would wait for the device, the host blocks, and
gives trio its turns.

pyfuse3 looks ``trio`` up in its module when it runs (pyfuse3.asyncio replaces it the same way), and so it does
``_wait_fuse_readable``, which takes a lock around the wait for the device. There is one worker, so the lock has nobody
to keep out: that function is replaced as a whole.

The device is O_NONBLOCK: with a blocking one, a request that vanished (its reader was killed) between poll and read
would freeze fs until the next one. EAGAIN then ends the loop, which is started again; pyfuse3 leaks its 1 MiB buffer
each time, so fs asks to be replaced after ``MAX_RESTARTS`` of them.
"""

import errno
import os
import select
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, Final, Protocol, Self, TypeVar

import outcome
import pyfuse3
import trio

MAX_RESTARTS: Final = 64

T = TypeVar("T")
Wait = Callable[[], Coroutine[Any, Any, bool]]


class Answers(Protocol):
    """Who wants to know that a request has its answer (opens.py)."""

    unanswered: bool

    def answered(self) -> None:
        """Every request that came has its answer. Called when ``unanswered``, before the next is looked for."""


class Host:
    """The main thread: serves the device, and gives trio its turns in between."""

    def __init__(self, spin_seconds: float) -> None:
        """``spin_seconds``: how long the device is looked at after a request, before the thread sleeps."""
        self._ready: Callable[[], object]
        self._answers: Answers
        self._spin_seconds = spin_seconds
        self._patience = 0 if spin_seconds else None  # milliseconds, of the first look after a request
        self._turns: deque[Callable[[], object]] = deque()  # that trio wants
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._device = -1
        self._request: list[tuple[int, int]] = []  # what poll says of a device that has one, and of nothing else
        self._asked: deque[_Session] = deque()  # to be served
        self._served: _Session | None = None
        self._result: outcome.Outcome[Any] | None = None

    def run(self, main: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """As trio.run; what it runs may ``serve``."""
        trio.lowlevel.start_guest_run(
            main,
            *args,
            run_sync_soon_threadsafe=self._wants_turn,
            run_sync_soon_not_threadsafe=self._turns.append,
            done_callback=self._ended,
        )
        while self._result is None:
            if self._asked:
                self._serve(self._asked.popleft())
            self._give_turns()
            self._look(0 if self._turns or self._asked or self._result else None)
        os.close(self._wake)
        result: T = self._result.unwrap()
        return result

    def begin(self, device: int, *, ready: Callable[[], object], answers: Answers) -> None:
        """From here on pyfuse3 waits here. ``ready`` is called when its loop begins, ``answers`` as it says."""
        self._device, self._ready, self._answers = device, ready, answers
        self._request = [(device, select.POLLIN)]
        install(self.wait)

    async def serve(self) -> bool:
        """Answer the kernel until the connection ends (False) or fs should be replaced (True)."""
        session = _Session()
        self._asked.append(session)
        try:
            await session.ended.wait()
        finally:
            session.wanted = False
        result: bool = session.result.unwrap()
        return result

    async def wait(self) -> bool:
        """Block until the device has a request, or seems to; False when it is served no more.

        Trio gets the turns that it wants, one round of them between two requests.
        """
        if self._answers.unanswered:
            self._answers.answered()
        if not self._turns and self._poll.poll(self._patience) == self._request:
            return True
        return self._waited()

    def _waited(self) -> bool:
        spins = self._spin_seconds and not self._turns
        while True:
            self._give_turns()
            if not (self._served and self._served.wanted):
                return False
            if self._spun() if spins else self._look(0 if self._turns else None):
                return True
            spins = False

    def _serve(self, session: "_Session") -> None:
        if not session.wanted:
            return
        self._served = session
        self._poll.register(self._device, select.POLLIN)
        session.serve(self._ready)
        self._poll.unregister(self._device)
        self._served = None

    def _spun(self) -> bool:
        until = time.perf_counter() + self._spin_seconds
        while not self._look(0):
            if self._turns or time.perf_counter() >= until:
                return False
        return True

    def _look(self, milliseconds: int | None) -> bool:
        """Whether the device has a request, within that time or as soon as trio wants a turn."""
        requested = False
        for fd, _ in self._poll.poll(milliseconds):
            if fd == self._wake:
                os.eventfd_read(fd)
            else:
                requested = True
        return requested

    def _give_turns(self) -> None:
        for _ in range(len(self._turns)):
            self._turns.popleft()()

    def _wants_turn(self, turn: Callable[[], object]) -> None:
        self._turns.append(turn)
        os.eventfd_write(self._wake, 1)

    def _ended(self, result: outcome.Outcome[Any]) -> None:
        self._result = result


class _Session:
    """One run of pyfuse3's loop, asked for in trio and served by the host."""

    def __init__(self) -> None:
        self.wanted = True
        self.ended = trio.Event()
        self.result: outcome.Outcome[bool]
        self._trio = trio.lowlevel.current_trio_token()

    def serve(self, ready: Callable[[], object]) -> None:
        self._trio.run_sync_soon(ready)
        self.result = outcome.capture(served)
        self._trio.run_sync_soon(self.ended.set)


def served() -> bool:
    """Drive pyfuse3 until the connection ends (False) or it has leaked enough (True)."""
    for _ in range(MAX_RESTARTS):
        try:
            drive()
        except OSError as failure:
            if failure.errno != errno.EAGAIN:
                raise
        else:
            return False
    return True


def drive() -> None:
    """Have pyfuse3 take one request after the other, until it is told that there are no more. Raises OSError."""
    try:
        pyfuse3.main(min_tasks=1, max_tasks=1).send(None)
    except StopIteration:
        return
    raise RuntimeError("pyfuse3 waited for something that is not the device")


def install(wait: Wait) -> None:
    """Give pyfuse3 the scheduling described above. ``wait`` returns when the device has a request (True), or no more
    are to be taken (False).
    """
    pyfuse3._wait_fuse_readable = wait  # type: ignore[attr-defined]
    pyfuse3.trio = SimpleNamespace(  # type: ignore[attr-defined]
        open_nursery=_Worker,
        lowlevel=SimpleNamespace(
            current_task=lambda: SimpleNamespace(name="fs"),
            current_trio_token=lambda: None,
        ),
    )


class _Worker:
    """The nursery of one task. It runs in place, to its end."""

    def __init__(self) -> None:
        self._work: list[Coroutine[Any, Any, None]] = []

    async def __aenter__(self) -> Self:
        return self

    def __aexit__(self, *_exc: object) -> Awaitable[None]:
        return self._worked()

    async def _worked(self) -> None:
        for coroutine in self._work:
            await coroutine

    def start_soon(self, act: Callable[..., Coroutine[Any, Any, None]], *args: object, name: str) -> None:  # noqa: ARG002
        self._work.append(act(*args))
