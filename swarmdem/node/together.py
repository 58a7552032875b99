"""Gathers the trainings of a process's peers for a short moment, so that they can be done in one pass.

Peers hear of a certificate within milliseconds of each other. A training that is ordered waits until no
other was for `LULL_S`, `WAIT_S` at most, and goes to the training thread with all that were; who comes later
goes with the next. Only learners that can train together are gathered; the others, and all once a trial has
said that one by one is faster, go to the thread at once. Bound: `GATHERED_MAX` wait at most.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from swarmdem.learning.learner import Learner
from swarmdem.learning.meeting import Tell, Vectorise, Verdict, run_together

LULL_S = 0.03
WAIT_S = 0.3
GATHERED_MAX = 256
"""Peers whose training is begun at once; each is a thread that mostly waits."""


@dataclass(slots=True)
class _Entry:
    """One peer's training that waits."""

    local: Callable[[], None]
    after: Callable[[], None]
    future: Future[None] = field(default_factory=Future)


class Together:
    """The trainings of one process, gathered or one by one.

    Args:
        thread: Where learners may be touched; one thread.
        mode: Whether to gather.
        tell: Takes what the trial of a pass said, in the training thread.
    """

    def __init__(self, thread: ThreadPoolExecutor, mode: Vectorise = "off", tell: Tell | None = None) -> None:
        self._thread = thread
        self._mode = mode
        self._tell = tell
        self._waiting: list[_Entry] = []
        self._first_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, learner: Learner, local: Callable[[], None], after: Callable[[], None]) -> Future[None]:
        """Have *local* and then *after* called where learners may be touched; on the event loop.

        Args:
            learner: The peer's.
            local: Its local work; its call of `Learner.train` may be answered together with others'.
            after: Called in the training thread itself.

        Returns:
            Done after both; cancelled before *local* has begun, neither is called.
        """
        if self._mode == "off" or getattr(learner, "recipe", None) is None:
            return self._thread.submit(_one_after_the_other, local, after)
        entry = _Entry(local, after)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._first_s = loop.time()
        self._waiting.append(entry)
        if self._timer is not None:
            self._timer.cancel()
        left_s = self._first_s + WAIT_S - loop.time()
        if len(self._waiting) >= GATHERED_MAX or left_s <= 0:
            self._begin()
        else:
            self._timer = loop.call_later(min(LULL_S, left_s), self._begin)
        return entry.future

    def close(self) -> None:
        """Drop what waits."""
        if self._timer is not None:
            self._timer.cancel()
        for entry in self._waiting:
            entry.future.cancel()
        self._waiting.clear()

    def _begin(self) -> None:
        entries, self._waiting, self._timer = self._waiting, [], None
        self._thread.submit(self._run, entries)

    def _run(self, entries: list[_Entry]) -> None:
        """In the training thread: do the work of all that still want it."""
        wanted = [entry for entry in entries if entry.future.set_running_or_notify_cancel()]

        def ended(number: int, failed: BaseException | None) -> None:
            _finish(wanted[number], failed)

        run_together([entry.local for entry in wanted], self._mode, self._judged, ended)

    def _judged(self, verdict: Verdict) -> None:
        if not verdict.together:
            self._mode = "off"
        if self._tell is not None:
            self._tell(verdict)


def _one_after_the_other(local: Callable[[], None], after: Callable[[], None]) -> None:
    local()
    after()


def _finish(entry: _Entry, failed: BaseException | None) -> None:
    if failed is None:
        try:
            entry.after()
        except BaseException as error:
            failed = error
    if failed is None:
        entry.future.set_result(None)
    else:
        entry.future.set_exception(failed)
