"""Peers that come, go and die at every moment, played out: what round.md promises of each case."""

import itertools

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.protocol.events import Certified, Report
from swarmdem.simulation.runs import Run, Settings
from swarmdem.wire.messages import NORMAL, PROVISIONAL


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


@pytest.mark.parametrize("peers", [3, 5])
def test_one_peer_ten_times_slower_neither_stalls_the_others_nor_is_lost(peers):
    """Training takes 2 to 6 s, at one peer 20 to 60: it is in about every sixth round."""
    run = story(peers)
    slow = run.world.peers[-1]
    slow.slowness = 10.0
    adopted = certificates(run, by=0)

    run.world.run(lambda: len(adopted) > 20, deadline=400 * SECOND)

    later = [(at, event) for at, event in adopted if event.round >= 4]
    spans = [b[0] - a[0] for a, b in itertools.pairwise(later)]
    taking_part = [event.round for _, event in later if slow.id in event.peers]
    assert all(event.mode == NORMAL for _, event in adopted[1:])
    assert sum(spans) / len(spans) < 10
    assert max(spans) < 20
    assert len(taking_part) >= 3
    assert max(b - a for a, b in itertools.pairwise(taking_part)) <= 12


def on_base(run, number):
    """Play until every peer stands on the certificate of round *number*; return its plan."""
    peers, bases = run.world.peers, run.tally.base
    assert run.world.run(
        lambda: all(p.id in bases and bases[p.id].round == number for p in peers), deadline=200 * SECOND
    )
    return run.world.checkers.evidence.plans[bases[peers[0].id].plan]


def agreed(run, *, above):
    """Say whether all that live stand on one certified base of a round above the given one."""
    return lambda: run.tally.agreed(run.live) and run.tally.lowest(run.live) > above


def kill(run, victims):
    for victim in victims:
        run.world.by_id[victim].crash()


def aggregators_first(known, count):
    """Peers of a plan, those in office first, then their seconds; at most *count*."""
    offices = known.leaders.values()
    seconds = [ranks[1] for ranks in offices if len(ranks) > 1]
    order = dict.fromkeys([*(ranks[0] for ranks in offices), *seconds, *sorted(known.digests)])
    return list(order)[:count]


@pytest.mark.parametrize(("peers", "levels"), [(5, 0), (8, 1), (20, 2)])
def test_less_than_half_die_at_once_with_every_aggregator_and_the_rest_certify_in_two_patiences(
    peers, levels
):
    """At the worst moment: all have the certificate and nothing has been averaged yet."""
    run = story(peers, levels=levels)
    known = on_base(run, 2)
    victims = aggregators_first(known, (peers - 1) // 2)
    assert {ranks[0] for ranks in known.leaders.values()} <= {*victims}
    died_at = run.world.now

    kill(run, victims)

    assert run.world.run(agreed(run, above=2), deadline=died_at + 2 * run.patience)
    base = run.tally.base[run.live[0].id]
    assert (base.round, base.mode) == (3, NORMAL)
    assert len(base.peers) == peers - len(victims)


@pytest.mark.parametrize(("peers", "levels"), [(5, 0), (8, 1), (20, 2)])
@pytest.mark.parametrize("half", [False, True])
def test_half_or_more_die_at_once_and_the_rest_certify_in_a_new_lineage_two_rounds_later(peers, levels, half):
    """Uncertified within three patiences (silence, training, one more to be sure), certified within four."""
    run = story(peers, levels=levels)
    known = on_base(run, 2)
    victims = aggregators_first(known, (peers + 1) // 2 if half else peers - 2)
    died_at = run.world.now
    kill(run, victims)
    adopted = certificates(run, by=run.live[0].index)

    assert run.world.run(agreed(run, above=3), deadline=died_at + 4 * run.patience)

    assert [(event.round, event.mode) for _, event in adopted] == [(3, PROVISIONAL), (4, NORMAL)]
    assert adopted[0][0] - died_at / SECOND < 24
    assert all(len(event.peers) == peers - len(victims) for _, event in adopted)
