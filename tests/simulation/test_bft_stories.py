"""The mode `bft` under faults and liars, fewer than a third: it may wait, but it never certifies twice."""

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Run, Settings


def lie(kind, amount=0.0):
    """Two of seven lie from the founding on, for about five rounds."""
    return Fault(kind, 10 * SECOND, 60 * SECOND, (0, 1), amount)


STORIES = {
    "calm": [],
    "two tell different things to different peers": [lie(Kind.EQUIVOCATE)],
    "two invent frames and certificates": [lie(Kind.FORGE, 1.0)],
    "two say old things again": [lie(Kind.REPLAY)],
    "three of seven are cut off": [Fault(Kind.SPLIT, 25 * SECOND, 70 * SECOND, (0, 1, 2))],
    "all die after their votes": [
        Fault(Kind.STUMBLE, 20 * SECOND + peer, 70 * SECOND, (peer,), 1) for peer in range(7)
    ],
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("faults", STORIES.values(), ids=STORIES.keys())
def test_every_round_has_one_certificate_of_more_than_two_thirds(faults, seed):
    """`Checkers` judges both, and that nothing is provisional is told apart here."""
    settings = Settings(seed=seed, peers=7, rounds=6, faults=False)

    outcome = Run(settings, faults=faults, charter={"agreement": "bft"}).play()

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])
    assert outcome.provisional == 0
    assert outcome.rounds >= 6
