"""What becomes of a swarm when one thing goes wrong, played out."""

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.protocol.events import (
    Certified,
    FinishMean,
    NeighboursAveraged,
    Publish,
    Report,
    RoundFinished,
    Slot,
)
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.runs import Run, Settings
from swarmdem.wire.messages import NORMAL, Mean, Proposal


def story(peers, *faults, seed=1, rounds=5, **settings):
    return Run(Settings(seed=seed, peers=peers, rounds=rounds, faults=False, **settings), faults=faults)


def play(run):
    outcome = run.play()
    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])
    return outcome


def kill_at(run, wanted, *, back_after):
    """Kill the first peer whose effect is *wanted*, right after that effect."""
    tally, victims = run.world.observe, []

    def observe(peer, effect):
        tally(peer, effect)
        if not victims and wanted(peer, effect):
            victims.append(peer)
            peer.dies_in = 0
            run.world.after(back_after, lambda: None if peer.alive else peer.start())

    run.world.observe = observe
    return victims


def all_take_part(run):
    """Play on until a certificate lists every peer; False when none does within a minute."""

    def listed():
        bases = [run.tally.base[peer.id] for peer in run.world.peers]
        return all(base.mode == NORMAL and len(base.peers) == len(bases) for base in bases)

    return run.world.run(listed, deadline=run.world.now + 60 * SECOND)


def test_one_peer_learns_alone_and_its_model_is_its_upload():
    run = story(1, rounds=3)
    updates = []
    run.world.observe = watch(run, lambda peer, effect: updates.append(effect))

    outcome = play(run)

    slots = run.world.peers[0].disk.slots
    assert outcome.certified >= 3
    assert outcome.provisional == 0
    assert run.world.book[slots[Slot.OWN]] == run.world.book[slots[Slot.ANCHOR]]
    applied = [e.event for e in updates if isinstance(e, Report) and isinstance(e.event, RoundFinished)]
    assert all(event.applied for event in applied)


def watch(run, look):
    tally = run.world.observe

    def observe(peer, effect):
        tally(peer, effect)
        look(peer, effect)

    return observe


@pytest.mark.parametrize("peers", [2, 3, 8])
def test_nothing_goes_wrong(peers):
    """Every round is certified and applied by everybody, and nobody misses one."""
    outcome = play(story(peers))

    assert outcome.provisional == 0
    assert outcome.missed == 0
    assert outcome.applied >= 4 * peers


def test_of_two_peers_one_dies_the_other_goes_on_and_takes_it_back():
    run = story(2, Fault(Kind.KILL, 25 * SECOND, 150 * SECOND, (1,), 1), rounds=14)

    outcome = play(run)

    assert outcome.provisional >= 1
    assert all_take_part(run)


def test_of_three_peers_one_dies_and_all_rounds_stay_certified():
    outcome = play(story(3, Fault(Kind.KILL, 25 * SECOND, 90 * SECOND, (2,), 1), rounds=10))

    assert outcome.provisional == 0


def test_all_restart():
    outcome = play(story(4, Fault(Kind.KILL, 25 * SECOND, 40 * SECOND, (0, 1, 2, 3), 1), rounds=7))

    assert outcome.provisional == 0


def test_the_broker_is_away_for_a_minute_and_nobody_is_taken_for_dead():
    outcome = play(story(5, Fault(Kind.OUTAGE, 25 * SECOND, 85 * SECOND), rounds=7))

    assert outcome.provisional == 0


def test_half_of_the_swarm_dies_and_the_rest_goes_on_uncertified_first():
    outcome = play(story(6, Fault(Kind.KILL, 25 * SECOND, 120 * SECOND, (0, 1, 2), 1), rounds=12))

    assert outcome.provisional >= 1


def test_a_peer_that_comes_late_takes_part():
    run = story(4, Fault(Kind.LATE, 0, 40 * SECOND, (3,)), rounds=8)

    play(run)

    assert all_take_part(run)


def test_a_peer_that_leaves_is_not_waited_for_and_comes_back():
    run = story(4, Fault(Kind.LEAVE, 25 * SECOND, 70 * SECOND, (1,)), rounds=9)

    outcome = play(run)

    assert outcome.provisional == 0
    assert all_take_part(run)


@pytest.mark.parametrize("seed", range(3))
def test_the_proposer_dies_with_its_proposal(seed):
    run = story(5, seed=seed, rounds=6)
    victims = kill_at(
        run,
        lambda _, effect: (
            isinstance(effect, Publish)
            and isinstance(effect.frame.message, Proposal)
            and run.tally.highest(run.live) == 2
        ),
        back_after=60 * SECOND,
    )

    outcome = play(run)

    assert victims
    assert outcome.provisional == 0


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("announced", [False, True])
def test_an_aggregator_dies_before_or_after_its_mean(level, announced):
    """The round completes under the next rank or is cut cleanly; the next one is certified."""
    run = story(16, seed=3, rounds=5)

    def of_level(plan, group):
        known = run.world.checkers.evidence.plans[plan]
        return known.plan.round >= 2 and known.tree.group(group).level == level

    def before(_, effect):
        return isinstance(effect, FinishMean) and of_level(effect.plan, effect.group)

    def after(_, effect):
        message = effect.frame.message if isinstance(effect, Publish) else None
        return isinstance(message, Mean) and of_level(message.plan, message.group)

    victims = kill_at(run, after if announced else before, back_after=120 * SECOND)

    outcome = play(run)

    assert victims
    assert outcome.provisional == 0
    assert outcome.missed <= 2


def test_training_that_fails_costs_its_own_peer_only():
    outcome = play(story(4, Fault(Kind.FAIL, 20 * SECOND, 60 * SECOND, (2,)), rounds=7))

    assert outcome.provisional == 0


def test_gossiping_peers_go_on_without_a_neighbour_that_died_with_its_model():
    """It dies when the certificate lists it, before anybody has fetched from it."""
    settings = Settings(seed=3, peers=4, rounds=5, faults=False)
    run = Run(settings, faults=(), charter={"update": "gossip", "levels": 0, "neighbours": 2})
    dead = kill_at(run, certified_in(2), back_after=20 * SECOND)
    means, observe = [], run.world.observe

    def listen(peer, effect):
        observe(peer, effect)
        if isinstance(effect, Report) and isinstance(effect.event, NeighboursAveraged):
            means.append((peer.id, effect.event))

    run.world.observe = listen
    play(run)

    second = {peer: mean for peer, mean in means if mean.round == 2}
    without = {peer for peer, mean in second.items() if mean.silent == (dead[0].id,)}
    assert len(without) == 2
    assert all(len(second[peer].included) == 2 for peer in without)
    assert {len(mean.silent) for _, mean in means if mean.round > 3} == {0}


def certified_in(round_number):
    """Say which effect reports the certificate of a round."""
    return lambda _, effect: (
        isinstance(effect, Report)
        and isinstance(effect.event, Certified)
        and effect.event.round == round_number
    )
