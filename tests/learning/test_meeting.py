"""Peers' work runs one at a time, and what it asks to be trained is answered together."""

import threading
from functools import partial

import numpy as np
import pytest

from swarmdem.errors import NotFiniteError
from swarmdem.learning import meeting
from swarmdem.learning.learner import Objective
from swarmdem.learning.meeting import Call, run_together

OBJECTIVE = Objective()


class Room:
    """A meeting whose trainings are only written down: the loss is the round."""

    def __init__(self, **wrong):
        self.asked = []
        self.heard = []
        self.ended = []
        self.busy = threading.Lock()
        self.wrong = wrong

    def train(self, name, round):
        seat = meeting.current()
        self.busy.release()
        try:
            return seat.train(Call(name, round, OBJECTIVE), self.train_all)
        finally:
            assert self.busy.acquire(blocking=False), "two run at the same time"

    def train_all(self, calls, mode, tell):
        self.asked.append([call.learner for call in calls])
        return [self.wrong.get(call.learner, float(call.round)) for call in calls]

    def work(self, name, *rounds):
        assert self.busy.acquire(blocking=False), "two run at the same time"
        try:
            for round in rounds:
                self.heard.append((name, self.train(name, round)))
        finally:
            self.busy.release()

    def run(self, *works):
        run_together(
            works, "on", lambda verdict: None, lambda number, failed: self.ended.append((number, failed))
        )


def test_work_for_which_there_is_no_thread_is_done_alone(monkeypatch):
    room, start = Room(), threading.Thread.start
    alone = []

    def refuse_the_second(thread):
        if len(started) == 1:
            started.append(None)
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    started = []
    monkeypatch.setattr(threading.Thread, "start", refuse_the_second)
    room.run(partial(room.work, "a", 1), lambda: alone.append(meeting.current()), partial(room.work, "c", 3))

    assert alone == [None]
    assert room.heard == [("a", 1.0), ("c", 3.0)]
    assert room.ended == [(1, None), (0, None), (2, None)]


def test_every_call_is_answered_by_its_own_number():
    room = Room()

    room.run(partial(room.work, "a", 1), partial(room.work, "b", 2), partial(room.work, "c", 3))

    assert room.asked == [["a", "b", "c"]]
    assert room.heard == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    assert room.ended == [(0, None), (1, None), (2, None)]


def test_a_strategy_that_trains_twice_meets_whoever_does_so_too():
    room = Room()

    room.run(partial(room.work, "a", 1, 2), partial(room.work, "b", 1), partial(room.work, "c", 1, 2))

    assert room.asked == [["a", "b", "c"], ["a", "c"]]


def test_work_that_fails_or_never_trains_holds_nobody():
    room = Room()

    def fail():
        raise OSError("no disk")

    room.run(fail, partial(room.work, "b"), partial(room.work, "c", 5))

    assert room.heard == [("c", 5.0)]
    assert [(number, repr(failed)) for number, failed in room.ended] == [
        (0, "OSError('no disk')"),
        (1, "None"),
        (2, "None"),
    ]


def test_an_answer_that_is_an_error_is_raised_where_it_was_asked_for():
    room = Room(b=NotFiniteError("loss is nan"))

    room.run(partial(room.work, "a", 1), partial(room.work, "b", 1))

    assert room.heard == [("a", 1.0)]
    assert isinstance(room.ended[1][1], NotFiniteError)


def test_an_error_of_the_pass_itself_goes_to_everybody():
    room = Room()

    def broken(calls, mode, tell):
        raise MemoryError

    room.train_all = broken
    room.run(partial(room.work, "a", 1), partial(room.work, "b", 1))

    assert [type(failed) for _, failed in room.ended] == [MemoryError, MemoryError]


def test_the_time_of_a_pass_is_shared_out():
    shares = []

    def busy(calls, mode, tell):
        for _ in range(20):
            np.linalg.svd(np.ones((60, 60)))
        return [0.0] * len(calls)

    def work():
        meeting.current().train(Call("a", 1, OBJECTIVE), busy)
        shares.append(meeting.shared_cpu_s())

    run_together([work, work], "on", lambda verdict: None, lambda number, failed: None)

    assert shares[0] == shares[1] > 0.0
    assert meeting.shared_cpu_s() == 0.0


def test_whoever_trains_alone_has_no_seat():
    assert meeting.current() is None


@pytest.mark.parametrize("count", [1, 40])
def test_no_thread_is_left_over(count):
    room = Room()
    before = threading.active_count()

    room.run(*(partial(room.work, str(number), 1) for number in range(count)))

    assert threading.active_count() == before
    assert len(room.asked[0]) == count
