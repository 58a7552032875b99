"""Peers that come, go and die at every moment, played out."""

import itertools

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.protocol.events import (
    Accumulate,
    Apply,
    Certified,
    FinishMean,
    GroupAveraged,
    LeaveRequested,
    Publish,
    Report,
    RoundFinished,
    Slot,
    Train,
)
from swarmdem.simulation import weather
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Run, Settings
from swarmdem.wire.messages import NORMAL, PROVISIONAL, Digest, Final, Proposal, Vote


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

    run.world.run(lambda: len(adopted) > 28, deadline=400 * SECOND)

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


def test_a_swarm_whose_links_are_a_hundred_times_slower_than_expected_finds_its_pace(monkeypatch):
    """A model of 20 kB needs 6 s where the charter expects 80 ms: deadlines follow within five rounds."""
    monkeypatch.setattr(weather, "TRANSFER_RATE", 3300)
    run = story(5, levels=1)
    finished, observe = [], run.world.observe

    def listen(peer, effect):
        observe(peer, effect)
        if isinstance(effect, Report) and isinstance(effect.event, RoundFinished):
            finished.append(effect.event)

    run.world.observe = listen
    run.world.run(lambda: run.tally.lowest(run.live) >= 8, deadline=240 * SECOND)

    assert [event.applied for event in finished if event.round in {5, 6, 7}] == [True] * 15
    known = run.world.checkers.evidence.plans[run.tally.base[run.live[0].id].plan]
    assert 2_000 < known.base.state.conduct.pace_ms < 20_000


def in_round(run, number, kind, wanted=lambda effect: True):
    """Say whether an effect is of a kind and leads to or follows the plan of a round."""

    def fits(effect):
        if not isinstance(effect, kind) or not wanted(effect):
            return False
        return run.tally.highest(run.live) == number

    return fits


def publishes(kind):
    return lambda effect: isinstance(effect.frame.message, kind)


PHASES = {
    "collect": (2, Train, lambda effect: True),
    "freeze": (2, Publish, publishes(Digest)),
    "propose": (2, Publish, publishes(Proposal)),
    "vote": (2, Publish, publishes(Vote)),
    "up": (3, FinishMean, lambda effect: True),
    "down": (3, Publish, publishes(Final)),
    "apply": (3, Apply, lambda effect: True),
}
"""What a peer does in each phase of the third round, and the round its swarm stands on then."""


def at_phase(run, phase, then):
    """Call *then* with the first peer that does what belongs to a phase, right after it did."""
    fits, observe, done = in_round(run, *PHASES[phase]), run.world.observe, []

    def listen(peer, effect):
        observe(peer, effect)
        if not done and fits(effect):
            done.append(peer)
            run.world.after(1, then, peer)

    run.world.observe = listen
    return done


@pytest.mark.parametrize("phase", PHASES)
def test_a_peer_may_leave_in_any_phase_and_nobody_waits_for_it(phase):
    """The round completes for all others and so does the next, certified, in its usual time."""
    run = story(6, levels=1, seed=2)
    left_at = []

    def leave(peer):
        left_at.append(run.world.now)
        peer.feed(LeaveRequested())
        run.world.after(SECOND // 20, peer.crash)

    leavers = at_phase(run, phase, leave)

    assert run.world.run(
        lambda: left_at and agreed(run, above=run.tally.base[leavers[0].id].round + 1)(), deadline=80 * SECOND
    )
    assert run.world.now - left_at[0] < 2.5 * run.patience
    assert leavers[0].id not in run.tally.base[run.live[0].id].peers
    assert PROVISIONAL not in run.tally.modes.values()
    assert run.tally.missed <= 1


@pytest.mark.parametrize("phase", PHASES)
def test_a_peer_may_join_in_any_phase_and_is_in_two_rounds_later(phase):
    run = story(6, Fault(Kind.LATE, 0, 10**12, (5,)), levels=1, seed=2)
    newcomer = run.world.peers[5]
    joined = []

    def join(_):
        joined.append(run.tally.highest(run.live))
        newcomer.start()

    at_phase(run, phase, join)

    def listed():
        base = run.tally.base.get(newcomer.id)
        return base is not None and newcomer.id in base.peers

    assert run.world.run(lambda: joined and listed(), deadline=80 * SECOND)
    assert run.tally.base[newcomer.id].round <= joined[0] + 2
    assert PROVISIONAL not in run.tally.modes.values()


def test_the_upload_that_a_leaver_has_given_counts_in_the_round_it_leaves():
    run = story(6, levels=0)
    known, observe, gone = on_base(run, 2), run.world.observe, []
    means = []

    def listen(peer, effect):
        observe(peer, effect)
        if isinstance(effect, Report) and isinstance(effect.event, GroupAveraged):
            means.append(effect.event)
        if isinstance(effect, Accumulate) and run.tally.highest(run.live) == 3 and not gone:
            owner = next(p for p in run.live if p.disk.slots.get(Slot.UPLOAD) == effect.model)
            if owner is not peer and owner.id not in known.leaders[known.tree.root.id]:
                gone.append(owner)
                run.world.after(1, owner.feed, LeaveRequested())
                run.world.after(SECOND // 20, owner.crash)

    run.world.observe = listen
    assert run.world.run(lambda: gone and agreed(run, above=3)(), deadline=80 * SECOND)

    third = next(mean for mean in means if mean.round == 3)
    assert gone[0].id in third.included
    assert len(third.included) == 6
