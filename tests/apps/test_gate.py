"""Nobody speaks before all are subscribed, and nobody waits for a worker that is lost."""

from swarmdem.apps.gate import Gate
from swarmdem.apps.pipes import Begin


class Crew:
    def __init__(self):
        self.ordered = []

    def order(self, number, order):
        self.ordered.append((number, order))


def test_all_begin_when_the_last_one_is_subscribed():
    crew = Crew()
    gate = Gate(crew, 3)

    gate.opened(2)
    gate.opened(0)
    assert crew.ordered == []
    gate.opened(1)
    assert crew.ordered == [(2, Begin()), (0, Begin()), (1, Begin())]


def test_a_lost_worker_holds_up_nobody_and_begins_at_once_when_it_is_back():
    crew = Crew()
    gate = Gate(crew, 2)

    gate.opened(1)
    gate.lost(0)
    assert crew.ordered == [(1, Begin())]
    gate.opened(0)
    assert crew.ordered == [(1, Begin()), (0, Begin())]


def test_a_worker_lost_while_it_waited_is_not_told_to_begin():
    crew = Crew()
    gate = Gate(crew, 2)

    gate.opened(1)
    gate.lost(1)
    gate.opened(0)
    assert crew.ordered == [(0, Begin())]
