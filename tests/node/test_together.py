"""Trainings that peers of one process order within a moment are answered together."""

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from swarmdem.learning import meeting
from swarmdem.learning.learner import Objective
from swarmdem.learning.meeting import Call, Verdict
from swarmdem.node.together import GATHERED_MAX, Together


class Gatherable:
    """A learner whose training is written down."""

    recipe = object()

    def __init__(self, log, verdict=None):
        self.log = log
        self.verdict = verdict

    def train(self):
        seat = meeting.current()
        if seat is None:
            self.log.append(["alone"])
        else:
            seat.train(Call(self, 1, Objective()), self.train_all)

    def train_all(self, calls, mode, tell):
        self.log.append([mode] * len(calls))
        if self.verdict is not None:
            tell(self.verdict)
        return [0.5] * len(calls)


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1, "only") as thread:
        yield thread


async def done(futures):
    async with asyncio.timeout(10):
        await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))


async def test_what_is_ordered_within_a_moment_is_answered_at_once_and_followed_up_in_the_thread(thread):
    log, after = [], []
    together = Together(thread, "auto")
    learners = [Gatherable(log) for _ in range(3)]

    await done(
        [
            together.submit(one, one.train, lambda: after.append(threading.current_thread().name))
            for one in learners
        ]
    )

    assert log == [["auto", "auto", "auto"]]
    assert after == ["only_0"] * 3


async def test_a_later_one_goes_with_the_next(thread):
    log = []
    together = Together(thread, "on")
    first = together.submit(Gatherable(log), Gatherable(log).train, lambda: None)
    await done([first])

    await done([together.submit(Gatherable(log), Gatherable(log).train, lambda: None) for _ in range(2)])

    assert log == [["on"], ["on", "on"]]


async def test_one_that_is_cancelled_while_it_waits_is_left_out(thread):
    log = []
    together = Together(thread, "on")
    futures = [together.submit(Gatherable(log), Gatherable(log).train, lambda: None) for _ in range(3)]

    futures[1].cancel()
    await done([futures[0], futures[2]])

    assert log == [["on", "on"]]


async def test_what_fails_is_told_to_its_own_peer_alone(thread):
    log = []
    together = Together(thread, "on")

    def fail():
        raise OSError("no disk")

    good, bad, worse = Gatherable(log), Gatherable(log), Gatherable(log)
    futures = [
        together.submit(good, good.train, lambda: None),
        together.submit(bad, fail, lambda: None),
        together.submit(worse, worse.train, fail),
    ]
    await done([futures[0]])

    for future in futures[1:]:
        with pytest.raises(OSError, match="no disk"):
            await asyncio.wrap_future(future)
    assert log == [["on", "on"]]


async def test_any_other_learner_and_the_mode_off_train_one_by_one(thread):
    log = []

    class Plain(Gatherable):
        recipe = None

    await done([Together(thread, "on").submit(Plain(log), Plain(log).train, lambda: None) for _ in range(2)])
    await done([Together(thread).submit(Gatherable(log), Gatherable(log).train, lambda: None)])

    assert log == [["alone"]] * 3


async def test_nothing_is_gathered_any_more_once_one_by_one_was_found_to_be_better(thread):
    log, told = [], []
    together = Together(thread, "auto", told.append)
    slower = Gatherable(log, Verdict(together=False, why="slower"))

    for _ in range(2):
        await done([together.submit(slower, slower.train, lambda: None)])

    assert log == [["auto"], ["alone"]]
    assert [verdict.why for verdict in told] == ["slower"]


async def test_so_many_are_begun_without_waiting_for_more(thread):
    log = []
    together = Together(thread, "on")
    one = Gatherable(log)

    futures = [together.submit(one, lambda: None, lambda: None) for _ in range(GATHERED_MAX)]
    waiting = together.submit(one, lambda: None, lambda: None)
    together.close()
    await done(futures)

    with pytest.raises(CancelledError):
        waiting.result()
