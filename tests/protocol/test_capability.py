"""What peers claim to be able to do, and have shown, decides who leads: whole cores over many rounds."""

from collections import Counter

import pytest

from swarmdem.protocol.events import Elected
from tests.protocol.core_swarm import CoreSwarm

ROUNDS = 40


def offices(claims):
    """Return how often each of the peers with these claims was first aggregator of the only group."""
    swarm = CoreSwarm(len(claims), levels=0)
    swarm.capability = claims.__getitem__
    swarm.start(*range(len(claims)))
    assert swarm.run(swarm.all_finished(ROUNDS), limit_s=600)
    led = Counter(i for i, e in swarm.of(Elected) if e.rank == 0 and e.round <= ROUNDS)
    assert sum(led.values()) == ROUNDS
    return [led[i] for i in range(len(claims))]


@pytest.mark.parametrize("tired", [0, 2])
def test_a_peer_that_asks_to_be_spared_leads_nothing(tired):
    claims = [1, 1, 1, 1]
    claims[tired] = 0

    led = offices(claims)

    assert led[tired] == 0
    assert min(led[:tired] + led[tired + 1 :]) > ROUNDS // 8


def test_if_all_ask_to_be_spared_one_leads_all_the_same():
    assert sum(offices([0, 0])) == ROUNDS


def test_a_peer_that_claims_more_and_has_served_well_leads_before_the_others():
    """Four draws against one each of three others: four rounds in seven."""
    ordinary, claimed = offices([1, 1, 1, 1]), offices([1, 3, 1, 1])

    assert claimed[1] > 2 * ordinary[1]
