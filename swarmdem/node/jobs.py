"""One peer's jobs on the worker threads: begun, followed, and answered on the event loop.

A job that ends wakes the loop once, whatever is to be done with its result. A short one needs no thread:
threads of one interpreter take turns, and beside a training every turn costs more than a short sum.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from swarmdem.errors import MisuseError

T = TypeVar("T")


class Jobs:
    """The jobs of one peer; all methods are called on the event loop.

    Args:
        failed: Takes what went wrong with a job, on the event loop.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._running: set[Future[Any]] = set()
        self._closed = False

    def begin(self, threads: Executor | None, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Have *work* done, and *then* called with its result in a later turn of the loop.

        Args:
            threads: Where; None: here and now.
            work: Touches nothing that belongs to the loop.
            then: Not called when *work* raised, or the peer is gone by then.
        """
        if self._closed:
            return
        if threads is not None:
            self.follow(threads.submit(work), then)
            return
        job: Future[T] = Future()
        try:
            job.set_result(work())
        except Exception as error:
            job.set_exception(error)
        self._loop.call_soon(self._ended, job, then)

    def follow(self, job: Future[T], then: Callable[[T], None]) -> Future[T]:
        """Have *then* called with the result of *job*; the same as `begin` of what was begun elsewhere."""
        self._running.add(job)
        job.add_done_callback(partial(self._post, then))
        return job

    async def result(self, job: Future[T]) -> T:
        """Wait for *job*.

        Raises:
            MisuseError: The peer left meanwhile.
        """
        self._running.add(job)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            if self._closed:
                raise MisuseError("the peer left before it could answer") from None
            raise
        finally:
            self._running.discard(job)

    @property
    def closed(self) -> bool:
        """Whether nothing is begun any more."""
        return self._closed

    async def close(self) -> None:
        """Drop what waits and wait for what runs."""
        self._closed = True
        running = [job for job in self._running if not job.cancel()]
        await asyncio.gather(*(asyncio.wrap_future(job) for job in running), return_exceptions=True)

    def _post(self, then: Callable[[T], None], job: Future[T]) -> None:
        """In the thread that did it, or where it was cancelled."""
        # The loop may be closed already when a process is torn down in the middle of a training.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended, job, then)

    def _ended(self, job: Future[T], then: Callable[[T], None]) -> None:
        self._running.discard(job)
        if self._closed or job.cancelled():
            return
        error = job.exception()
        if error is not None:
            self._failed(error)
        else:
            then(job.result())
