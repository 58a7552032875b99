"""Where the local training of co-hosted peers meets, so that it can be done in one pass: `run_together`.

What a strategy does around `Learner.train` is its own affair and may be any code. So each peer's work runs
in a thread of its own, one at a time, up to its call of `train`; when nobody can go on, all calls are
answered together, and the threads go on one by one with their answers. Nothing runs at the same time:
learners and strategies need not know that they are not alone.

A learner that can train together with others asks for the meeting of its thread (`current`) and hands its
call over (`Seat.train`). Work that fails, or never trains, holds nobody; nor does work for which the machine
has no thread left: it is done at once, and trains alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

from swarmdem.learning.learner import Objective

_log = logging.getLogger("swarmdem.learning.meeting")

Vectorise = Literal["auto", "on", "off"]
"""Whether co-hosted peers train in one pass: where it is faster, wherever it can be done, or never."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about training in one pass."""

    together: bool
    why: str
    """One line for people."""


Tell = Callable[[Verdict], None]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `Learner.train` that waits for its answer."""

    learner: Any
    round: int
    objective: Objective


Answer = float | Exception
"""The mean loss, or what went wrong with this call."""
TrainAll = Callable[[Sequence[Call], Vectorise, Tell], list[Answer]]


class Seat:
    """One peer's work in a meeting.

    Args:
        work: What the peer does; called in a thread of its own.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._calls: SimpleQueue[tuple[Call, TrainAll] | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.cpu_s = 0.0
        """This peer's share of the CPU time of all passes it took part in."""
        self.failed: BaseException | None = None

    def go_on(self, answer: Answer | None = None) -> tuple[Call, TrainAll] | None:
        """Let the work go on until it calls `train`, which is returned, or ends: None.

        Args:
            answer: To the call before; None to begin.
        """
        if answer is not None:
            self._answers.put(answer)
        else:
            self._thread = threading.Thread(target=self._run, name="swarmdem-training-together")
            try:
                self._thread.start()
            except RuntimeError as error:
                _log.warning("no_thread error=%s", error)
                self._do()
                return None
        call = self._calls.get()
        if call is None:
            assert self._thread is not None
            self._thread.join()
        return call

    def train(self, call: Call, train_all: TrainAll) -> float:
        """Hand over a call of `Learner.train` and return its answer.

        Args:
            call: Of this thread.
            train_all: Answers this call and those of others.

        Raises:
            SwarmError: Training of this call gave nothing.
        """
        self._calls.put((call, train_all))
        answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _run(self) -> None:
        _seat.set(self)  # a thread's context is its own and ends with it
        self._do()
        self._calls.put(None)

    def _do(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.failed = error


_seat: ContextVar[Seat | None] = ContextVar("seat", default=None)


def current() -> Seat | None:
    """Return the seat of the calling thread, None when it trains alone."""
    return _seat.get()


def shared_cpu_s() -> float:
    """Return the calling thread's share of the CPU time that passes took in another thread."""
    seat = _seat.get()
    return seat.cpu_s if seat is not None else 0.0


def run_together(
    works: Sequence[Callable[[], None]],
    mode: Vectorise,
    tell: Tell,
    ended: Callable[[int, BaseException | None], None],
) -> None:
    """Run several peers' work, answering what they ask `Learner.train` for together.

    Args:
        works: One for each peer.
        mode: Whether one pass is wanted.
        tell: Takes what was found out, in this thread.
        ended: Called in this thread as soon as the work of a number is over, with what it failed with.
    """
    seats = [(number, Seat(work)) for number, work in enumerate(works)]
    answers: list[Answer | None] = [None] * len(seats)
    while seats:
        waiting: list[tuple[int, Seat]] = []
        calls: list[tuple[Call, TrainAll]] = []
        for (number, seat), answer in zip(seats, answers, strict=True):
            asked = seat.go_on(answer)
            if asked is None:
                ended(number, seat.failed)
            else:
                waiting.append((number, seat))
                calls.append(asked)
        seats, answers = waiting, []
        if calls:
            begun_s = time.thread_time()
            answers += _answered([call for call, _ in calls], calls[0][1], mode, tell)
            share_s = (time.thread_time() - begun_s) / len(calls)
            for _, seat in seats:
                seat.cpu_s += share_s


def _answered(calls: Sequence[Call], train_all: TrainAll, mode: Vectorise, tell: Tell) -> list[Answer]:
    try:
        return train_all(calls, mode, tell)
    except Exception as error:
        return [error] * len(calls)
