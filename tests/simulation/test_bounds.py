"""Whatever a core remembers is counted, wherever it keeps it."""

import pytest

from swarmdem.protocol.membership import Membership
from swarmdem.simulation.bounds import BOUNDS, EVERY, Bounds, limit, sizes
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.runs import Run, Settings


def test_collections_are_found_in_dictionaries_and_slots_of_the_core():
    run = Run(Settings(seed=1, peers=3, rounds=2, faults=False), faults=())
    run.play()

    found = {where for where, _ in sizes(run.world.peers[0].core)}

    older = {"Lineages.older", "Situation.barred"}  # one collection, met once
    assert BOUNDS.keys() - found <= older
    assert found & older
    assert {"Membership._sightings", "DigestSet.by_id", "Ballots._votes"} <= found


def test_a_collection_without_a_bound_of_its_own_may_grow_with_the_peers():
    assert limit("Catchup._parked", 20) == 256
    assert limit("Anything.else", 20) == 64 * 20 + 256


def test_a_core_that_remembers_everybody_who_ever_said_anything_is_found_out():
    core = Membership(patience=1, capacity=10**6)
    bounds = Bounds(peers=3)

    def hear(count):
        for number in range(count):
            core.hear(number.to_bytes(16, "big"), b"", 1, number)
            bounds.on_state(b"me", core)

    hear(limit("Membership._sightings", 3))
    with pytest.raises(Broken, match=r"Membership\._sightings has 5"):
        hear(limit("Membership._sightings", 3) + EVERY + 1)
