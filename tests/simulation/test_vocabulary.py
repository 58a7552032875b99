"""What each fault of the vocabulary does to a swarm, and that it leaves no trace when it is over."""

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.simulation.disk import Disk
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Run, Settings
from swarmdem.simulation.schedules import Schedule
from swarmdem.simulation.weather import Weather

AT, UNTIL = 20 * SECOND, 32 * SECOND


def swarm(*faults, peers=4, rounds=3, brokers=1):
    return Schedule(seed=1, peers=peers, rounds=rounds, faults=faults, weather=Weather(brokers=brokers)).run(
        whole_trace=True
    )


def said(run, index):
    """Return when peer number *index* published or sent anything."""
    lines = (line.split(" ", 3) for line in run.world.trace.lines)
    return [int(time) for time, peer, mark, *_ in lines if mark == ">" and peer == str(index)]


def settled(run):
    outcome = run.play()
    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])
    return outcome


@pytest.mark.parametrize("noticed", [0.0, 1.0])
def test_a_stopped_peer_says_nothing_and_goes_on(noticed):
    run = swarm(Fault(Kind.STOP, AT, UNTIL, (1,), noticed), rounds=5)

    outcome = settled(run)

    assert not [at for at in said(run, 1) if AT < at < UNTIL]
    assert [at for at in said(run, 1) if at >= UNTIL]
    assert outcome.provisional == 0
    assert run.world.peers[1].life == 1


def test_a_replaced_peer_has_another_key_and_no_memory():
    run = swarm(Fault(Kind.REPLACE, AT, UNTIL, (1,)), rounds=5)
    first = run.world.peers[1].id

    settled(run)

    newcomer = run.world.peers[1]
    assert newcomer.id != first
    assert newcomer.disk.sessions == 1
    assert newcomer.id in run.tally.base


def test_a_peer_that_dies_in_the_middle_of_a_write_has_not_written():
    run = swarm(Fault(Kind.LOST_WRITE, AT, UNTIL, (1,), 1))
    before = []
    run.world.after(AT, lambda: before.append(dict(run.world.peers[1].disk.records)))
    run.world.after(UNTIL - 1, lambda: before.append(dict(run.world.peers[1].disk.records)))

    settled(run)

    assert run.world.peers[1].life == 3
    assert before[0] == before[1]


def test_a_lying_disk_loses_what_it_confirmed():
    disk = Disk()
    disk.write("round", b"1")
    disk.write("round", b"2")
    disk.write("applied", b"a")

    disk.forget(2)

    assert disk.records == {"round": b"1"}


@pytest.mark.parametrize("kind", [Kind.BROKER_STOP, Kind.OUTAGE])
def test_one_broker_of_three_is_not_missed(kind):
    run = swarm(Fault(kind, AT, UNTIL, (), 0.0, (1,)), brokers=3, rounds=4)

    outcome = settled(run)

    assert (outcome.provisional, outcome.missed) == (0, 0)
    assert len([at for at in said(run, 0) if AT < at < UNTIL]) > 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.BROKER_STOP, AT, UNTIL),
        Fault(Kind.BROKER_SLOW, AT, UNTIL, (), 5.0),
        Fault(Kind.QUEUES, AT, UNTIL, (), 5.0),
        Fault(Kind.DUPLICATION, AT, UNTIL, (), 0.5),
        Fault(Kind.DELAY, AT, UNTIL, (0, 1), 1000.0),
        Fault(Kind.BANDWIDTH, AT, UNTIL, (0, 1), 20.0),
        Fault(Kind.ONE_WAY, AT, AT + 3 * SECOND, (0,), 0.0),
        Fault(Kind.ONE_WAY, AT, AT + 3 * SECOND, (0,), 1.0),
        Fault(Kind.OUTAGE, AT, UNTIL, (), 1.0),
    ],
    ids=str,
)
def test_nothing_stays_behind(fault):
    run = swarm(fault)

    settled(run)

    network = run.world.network
    fresh = Run(Settings(seed=1, peers=4, faults=False), faults=()).world.network
    assert [(b.stopped, b.service, b.queue_frames, b.duplication) for b in network.brokers] == [
        (b.stopped, b.service, b.queue_frames, b.duplication) for b in fresh.brokers
    ]
    for link in network.links:
        assert (link.island, link.service, link.rate, link.extra) == (0, 0, 0, 0)
        assert [line.cuts for line in link.lines] == [0]


def test_a_swarm_split_in_three_goes_on_and_comes_together():
    sides = (
        Fault(Kind.SPLIT, AT, AT + 4 * SECOND, (0, 1), 1.0),
        Fault(Kind.SPLIT, AT, AT + 4 * SECOND, (2,), 2.0),
    )
    run = swarm(*sides, peers=7)

    assert settled(run).provisional == 0
