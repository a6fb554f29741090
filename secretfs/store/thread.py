"""A thread for what may block. Rule: what it is given is done in that order, to its end, and answered, whether or not
somebody still waits.

trio's threads cost 0.4 ms of a commit's 1.8: a wake-up, a turn of the event loop while the thread wants the
interpreter, and a way back through a socket. Here the event loop itself stands still for a moment, as what is short is
over by then; it waits PATIENCE_SECONDS at most, and only the task waits for more.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Generic, Self, TypeVar

import outcome
import trio

PATIENCE_SECONDS: Final = 0.002  # a commit on a disk of today; a slow one holds nobody up for longer
END_SECONDS: Final = 1.0

T = TypeVar("T")


class Thread:
    """One, until ``end``."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """What it returns. Once begun it is not cancelled. Raises: what it raises."""
        await trio.lowlevel.checkpoint_if_cancelled()
        job = _Job(function)
        self._jobs.put(job)  # type: ignore[arg-type]  # a queue is invariant, and nobody puts anything into a job
        return await job.answer()

    def end(self) -> None:
        """Have it end when it has done what it has; whatever hangs there holds nobody up for long."""
        self._jobs.put(None)
        self._thread.join(END_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.end()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()
            del job  # and what it holds, while the next one is waited for


class _Job(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._trio = trio.lowlevel.current_trio_token()
        self._mutex = threading.Lock()  # of the next two
        self._result: outcome.Outcome[T] | None = None
        self._awaited: trio.Event | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def do(self) -> None:
        result = outcome.capture(self._function)
        with self._mutex:
            self._result = result
        self._done.release()
        if self._awaited is not None:
            self._trio.run_sync_soon(self._awaited.set)

    async def answer(self) -> T:
        if not self._done.acquire(timeout=PATIENCE_SECONDS):
            with self._mutex:
                if self._result is None:
                    self._awaited = trio.Event()
            if self._awaited is not None:
                with trio.CancelScope(shield=True):
                    await self._awaited.wait()
        assert self._result is not None
        result: T = self._result.unwrap()
        return result
