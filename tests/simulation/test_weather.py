"""The network between simulated peers behaves as brokers do."""

import heapq
import random

from swarmdem.identifiers import MILLISECOND, SECOND
from swarmdem.simulation.weather import Network, Overflow, Weather


class Clock:
    """The smallest scheduler: enough of a world for a network."""

    def __init__(self):
        self.now = 0
        self.queue = []

    def after(self, delay, action, /, *arguments):
        heapq.heappush(self.queue, (self.now + delay, len(self.queue), action, arguments))

    def run(self, until=10 * SECOND):
        while self.queue and self.queue[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(self.queue)
            action(*arguments)


def make(links=3, **weather):
    clock, got = Clock(), []
    network = Network(
        random.Random(1),
        clock.after,
        lambda peer, parcel: got.append((peer, parcel)),
        links,
        Weather(**weather),
    )
    for index in range(links):
        network.connect(index)
    return clock, network, got


def test_a_broadcast_reaches_everybody_and_its_sender():
    clock, network, got = make()

    network.publish(0, "hello")
    clock.run()

    assert sorted(got) == [(0, "hello"), (1, "hello"), (2, "hello")]
    assert 20 * MILLISECOND <= clock.now <= 150 * MILLISECOND


def test_a_unicast_reaches_its_receiver_alone():
    clock, network, got = make()

    network.send(0, 2, "psst")
    clock.run()

    assert got == [(2, "psst")]


def test_frames_overtake_each_other():
    clock, network, got = make(links=1)

    for number in range(20):
        network.publish(0, number)
    clock.run()

    assert sorted(parcel for _, parcel in got) == list(range(20))
    assert [parcel for _, parcel in got] != list(range(20))


def test_loss_and_duplication_happen_at_their_rates():
    clock, network, got = make(links=1, loss=0.2, duplication=0.5)

    for number in range(4000):
        network.publish(0, number)
    clock.run()

    assert abs(network.lost / 4000 - 0.2) < 0.03
    assert abs(len(got) / (4000 - network.lost) - 1.5) < 0.05


def test_a_cut_link_hears_nothing_and_cannot_be_heard():
    clock, network, got = make()
    network.cut(0, kept=False)

    network.publish(0, "out")
    network.publish(1, "in")
    clock.run()

    assert sorted(got) == [(1, "in"), (2, "in")]
    assert not network.reachable(0, 1)


def test_a_kept_session_queues_and_drops_the_newest():
    assert queued_while_cut(Overflow.NEWEST) == [0, 1, 2]


def test_a_kept_session_queues_and_drops_the_oldest():
    assert queued_while_cut(Overflow.OLDEST) == [7, 8, 9]


def queued_while_cut(overflow):
    clock, network, got = make(
        links=2, queue_frames=3, overflow=overflow, delay_min=MILLISECOND, delay_max=MILLISECOND
    )
    network.cut(0, kept=True)
    for number in range(10):
        network.publish(1, number)
        clock.run(clock.now + 2 * MILLISECOND)
    network.mend(0, clock.now)
    clock.run()
    assert network.overflowed == 7
    return [parcel for peer, parcel in got if peer == 0]


def test_islands_do_not_hear_each_other():
    clock, network, got = make()
    network.move(2, 1, 0)

    network.publish(2, "alone")
    network.publish(0, "both")
    clock.run()

    assert sorted(got) == [(0, "both"), (1, "both"), (2, "alone")]


def test_newcomers_get_what_is_retained():
    clock, network, got = make()
    network.disconnect(2)
    network.publish(0, "old", retain="certificate")
    network.publish(0, "new", retain="certificate")
    clock.run()
    got.clear()

    network.connect(2)
    clock.run()

    assert got == [(2, "new")]


def test_a_congested_link_is_late_and_overflows():
    clock, network, got = make(links=1, queue_frames=5)
    network.hinder(0, 0, service=100 * MILLISECOND)

    for number in range(20):
        network.publish(0, number)
    clock.run()

    assert network.overflowed > 0
    assert len(got) == 20 - network.overflowed
    assert clock.now > 500 * MILLISECOND
