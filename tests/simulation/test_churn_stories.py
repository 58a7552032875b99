"""Peers that come, go and die at every moment, played out: what round.md promises of each case."""

import itertools

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.protocol.events import Certified, Report
from swarmdem.simulation.runs import Run, Settings
from swarmdem.wire.messages import NORMAL


def story(peers, *faults, seed=1, rounds=5, charter=None, **settings):
    wanted = Settings(seed=seed, peers=peers, rounds=rounds, faults=False, **settings)
    return Run(wanted, faults=faults, charter=charter or {})


def certificates(run, by):
    """Collect what peer *by* adopts: (seconds, report)."""
    adopted, observe = [], run.world.observe

    def listen(peer, effect):
        observe(peer, effect)
        if isinstance(effect, Report) and isinstance(effect.event, Certified) and peer.index == by:
            adopted.append((run.world.now / SECOND, effect.event))

    run.world.observe = listen
    return adopted


@pytest.mark.parametrize("peers", [3, 5, 8])
def test_one_peer_ten_times_slower_neither_stalls_the_others_nor_is_lost(peers):
    """Training takes 2 to 6 s, at one peer 20 to 60: it is in about every sixth round."""
    run = story(peers)
    slow = run.world.peers[-1]
    slow.slowness = 10.0
    adopted = certificates(run, by=0)

    run.world.run(lambda: len(adopted) > 24, deadline=400 * SECOND)

    later = [(at, event) for at, event in adopted if event.round >= 4]
    spans = [b[0] - a[0] for a, b in itertools.pairwise(later)]
    taking_part = [event.round for _, event in later if slow.id in event.peers]
    assert all(event.mode == NORMAL for _, event in adopted[1:])
    assert sum(spans) / len(spans) < 10
    assert max(spans) < 20
    assert len(taking_part) >= 3
    assert max(b - a for a, b in itertools.pairwise(taking_part)) <= 12
