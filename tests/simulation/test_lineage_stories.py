"""Partitions of every kind: both sides go on, and after contact all stand on one certified base."""

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Run, Settings


def split(begin, end, *peers, side=0):
    """Cut *peers* off from all others between two moments in seconds."""
    return Fault(Kind.SPLIT, begin * SECOND, end * SECOND, peers, float(side))


def slow(begin, end, *peers):
    return Fault(Kind.SLOW, begin * SECOND, end * SECOND, peers, 6.0)


def crash(begin, end, *peers):
    return Fault(Kind.KILL, begin * SECOND, end * SECOND, peers)


STORIES = {
    "half and half": (6, [split(25, 100, 0, 1, 2)], 2),
    "six and four": (10, [split(25, 100, 0, 1, 2, 3)], 1),
    "one alone": (5, [split(25, 100, 4)], 1),
    "three sides": (9, [split(25, 110, 0, 1, 2, side=1), split(25, 110, 3, 4, 5, side=2)], 3),
    "three sides, one after the other": (
        9,
        [split(25, 110, 0, 1, 2, side=1), split(25, 150, 3, 4, 5, side=2)],
        3,
    ),
    "unequal rounds": (6, [split(25, 160, 0, 1, 2), slow(25, 160, 0, 1, 2)], 2),
    "the same two sides again and again": (
        6,
        [split(25 + 30 * n, 45 + 30 * n, 0, 1, 2) for n in range(5)],
        0,
    ),
    "other sides each time": (
        7,
        [split(25 + 20 * n, 37 + 20 * n, *sorted((n + k) % 7 for k in range(3))) for n in range(6)],
        0,
    ),
    "both sides die and come back before they meet": (
        6,
        [split(25, 140, 0, 1, 2), crash(80, 90, 0, 1, 2), crash(100, 110, 3, 4, 5)],
        2,
    ),
}


@pytest.mark.parametrize(("peers", "faults", "forks"), STORIES.values(), ids=STORIES.keys())
def test_all_stand_on_one_certified_base_within_three_rounds_of_contact(peers, faults, forks):
    """`Run` judges: within three rounds of the last fault's end all agree, and nothing is counted twice."""
    run = Run(Settings(seed=0, peers=peers, rounds=10, faults=False), faults=faults)

    outcome = run.play()

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])
    assert outcome.provisional >= forks
    assert outcome.rounds >= 10


def test_the_larger_side_takes_the_smaller_one_over():
    run = Run(Settings(seed=2, peers=7, rounds=10, faults=False), faults=[split(25, 100, 0, 1, 2)])
    run.world.run(lambda: False, deadline=99 * SECOND)
    path = lambda index: run.world.checkers.evidence.plans[standing(run, index)].plan.lineage  # noqa: E731
    larger, smaller = path(6), path(0)

    outcome = run.play()

    assert outcome.broken == ""
    assert smaller != larger
    assert {path(index)[: len(larger)] for index in range(7)} == {larger}


def test_a_peer_cut_off_alone_takes_its_time():
    """Nobody else holds it up, so without a pause it would run through hundreds of rounds meanwhile."""
    alone = 4
    settings = Settings(seed=0, peers=5, rounds=10, faults=False)
    run = Run(settings, faults=[split(25, 400, alone)])
    run.world.training = (1, 2)
    run.world.run(lambda: False, deadline=100 * SECOND)
    before = numbers(run, alone)

    run.world.run(lambda: False, deadline=180 * SECOND)

    patiences = 80 * SECOND / run.world.charter.patience_us
    assert patiences <= numbers(run, alone) - before <= 2 * patiences


def numbers(run, index):
    """Return the round a peer stands on."""
    return run.world.peers[index].core.status().round


def standing(run, index):
    return run.tally.base[run.world.peers[index].id].plan
