"""Every checker bites: a core that breaks one promise is found out, by that checker.

Each sabotage wraps the real core of every peer and changes what leaves it.
"""

import dataclasses

from swarmdem.protocol import plans
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import (
    Accumulate,
    Apply,
    Certified,
    FinishMean,
    NeighboursAveraged,
    Persist,
    Publish,
    Report,
    RoundFinished,
    Train,
    Woke,
)
from swarmdem.protocol.recent import Recent
from swarmdem.simulation.runs import Run, Settings
from swarmdem.wire.messages import NORMAL, Certificate, GroupSkip, Mean, Skip, Vote


class Sabotaged:
    """A core whose effects pass through *change(sealer, effect) -> effects*."""

    def __init__(self, charter, sealer, stored, change):
        self.core = Core(charter, sealer, stored=stored)
        self.sealer = sealer
        self.change = change

    def handle(self, event, now):
        return [c for effect in self.core.handle(event, now) for c in self.change(self.sealer, effect)]

    def next_wakeup(self):
        return self.core.next_wakeup()


def verdict(change, *, peers=5, seed=2, **charter):
    def factory(charter, sealer, *, stored):
        return Sabotaged(charter, sealer, stored, change)

    settings = Settings(seed=seed, peers=peers, rounds=4, faults=False)
    return Run(settings, faults=(), charter=charter, core_factory=factory).play().broken


def said(effect, kind):
    return (
        effect.frame.message
        if isinstance(effect, Publish) and isinstance(effect.frame.message, kind)
        else None
    )


def test_nothing_is_found_when_nothing_is_changed():
    assert verdict(lambda _, effect: [effect]) == ""


def test_a_double_vote():
    def change(sealer, effect):
        vote = said(effect, Vote)
        if vote is None or vote.mode != NORMAL:
            return [effect]
        other = Vote(vote.base, vote.mode, vote.term, bytes(32))
        return [effect, Publish(sealer.seal(other))]

    assert verdict(change).startswith("one vote per peer, base and term")


def test_a_vote_in_a_skipped_term():
    def change(sealer, effect):
        vote = said(effect, Vote)
        if vote is None or vote.mode != NORMAL:
            return [effect]
        skip = Skip(vote.base, vote.mode, vote.term, -1, b"")
        return [Publish(sealer.seal(skip)), effect]

    assert verdict(change).startswith("no vote in a skipped term")


def test_a_skip_that_hides_a_vote():
    def change(sealer, effect):
        vote = said(effect, Vote)
        if vote is None or vote.mode != NORMAL:
            return [effect]
        return [effect, Publish(sealer.seal(Skip(vote.base, vote.mode, vote.term, -1, b"")))]

    assert verdict(change).startswith("a skip carries the sender's highest vote")


def test_a_certificate_without_a_quorum():
    def change(sealer, effect):
        certificate = said(effect, Certificate)
        if certificate is None:
            return [effect]
        return [Publish(sealer.seal(Certificate(certificate.plan, certificate.term, certificate.votes[:1])))]

    assert verdict(change).startswith("a certificate carries the votes of more than half")


def test_another_tree_at_one_peer():
    def change(sealer, effect):
        if isinstance(effect, Report) and isinstance(effect.event, Certified) and sealer.peer[0] < 128:
            return [Report(dataclasses.replace(effect.event, tree=bytes(32)))]
        return [effect]

    assert "tree" in verdict(change)


def test_an_input_counted_twice():
    counted = []

    def change(_, effect):
        if not isinstance(effect, Accumulate) or counted:
            return [effect]
        counted.append(effect)
        return [effect, effect]

    assert verdict(change).startswith("a mean is the mean of what it includes")


def test_a_mean_that_claims_what_it_does_not_include():
    def change(sealer, effect):
        mean = said(effect, Mean)
        if mean is None or len(mean.included) < 2:
            return [effect]
        lie = Mean(
            mean.plan, mean.step, mean.group, mean.term, mean.weight, mean.included[1:], mean.model,
            mean.model_bytes, mean.skips,
        )  # fmt: skip
        return [Publish(sealer.seal(lie))]

    assert verdict(change).startswith("weights add up")


def test_a_result_of_a_skipped_term_applied():
    def change(sealer, effect):
        if isinstance(effect, Apply):
            return [Publish(sealer.seal(GroupSkip(effect.plan, 0, effect.group, 0))), effect]
        return [effect]

    assert "a result of a term one has skipped" in verdict(change)


def test_a_result_applied_twice():
    def change(_, effect):
        return [effect, effect] if isinstance(effect, Apply) else [effect]

    assert verdict(change).startswith("no peer applies twice for one plan")


def test_a_result_told_before_it_is_on_record():
    """Killed in between, the peer would train once as if it had never applied anything."""

    def change(_, effect):
        return [] if isinstance(effect, Persist) and effect.key == "applied" else [effect]

    assert verdict(change).startswith("what is told is on disk")


def test_an_update_that_never_ends():
    """Neither applied nor given up, as far as the peer says, and no newer certificate."""

    def change(_, effect):
        done = isinstance(effect, Report) and isinstance(effect.event, RoundFinished)
        next_round = isinstance(effect, Train) and effect.round > 1
        return [] if done or next_round else [effect]

    assert verdict(change).startswith("every started round ends within the nested deadlines")


def test_a_core_that_raises():
    class Fragile(Sabotaged):
        def handle(self, event, now):
            if isinstance(event, Woke):
                raise KeyError("digest")
            return super().handle(event, now)

    def factory(charter, sealer, *, stored):
        return Fragile(charter, sealer, stored, lambda _, effect: [effect])

    run = Run(Settings(seed=1, peers=3, rounds=2, faults=False), faults=(), core_factory=factory)

    assert run.play().broken.startswith("the core never raises")


def test_a_core_that_asks_for_the_moment_it_was_woken_at():
    class Spinning(Sabotaged):
        def next_wakeup(self):
            return 0

    def factory(charter, sealer, *, stored):
        return Spinning(charter, sealer, stored, lambda _, effect: [effect])

    run = Run(Settings(seed=1, peers=1, rounds=2, faults=False), faults=(), core_factory=factory)

    assert run.play().broken.startswith("a wake-up makes progress")


def test_a_plan_that_keeps_its_tree_for_longer_than_the_tables_say(monkeypatch):
    """All peers agree on it; only who decides once more from the charter finds out."""
    decide = plans.decide
    monkeypatch.setattr(plans, "decide", lambda *given: dataclasses.replace(decide(*given), tau=2))
    monkeypatch.setattr(plans, "_made", Recent())  # an equal run earlier in this process has made these plans

    assert verdict(lambda _, effect: [effect]).startswith("clock, tables and standing follow")


GOSSIP = {"update": "gossip", "levels": 0, "neighbours": 2}


def test_nothing_is_found_among_gossiping_peers_when_nothing_is_changed():
    assert verdict(lambda _, effect: [effect], **GOSSIP) == ""


def test_a_neighbour_claimed_and_left_out():
    def change(_, effect):
        return [] if isinstance(effect, Accumulate) and effect.model[0] < 64 else [effect]

    assert verdict(change, **GOSSIP).startswith("a mean is the mean of what it includes")


def test_a_mean_with_a_peer_that_is_no_neighbour():
    def change(sealer, effect):
        if isinstance(effect, Report) and isinstance(effect.event, NeighboursAveraged):
            event = effect.event
            return [Report(dataclasses.replace(event, included=(*event.included[:-1], bytes(16))))]
        return [effect]

    assert verdict(change, **GOSSIP).startswith("a peer averages with its neighbours")


def test_a_peer_that_keeps_to_itself_and_says_it_averaged():
    def change(_, effect):
        alone = isinstance(effect, Apply) and not effect.alone
        return [dataclasses.replace(effect, parent=effect.upload)] if alone else [effect]

    assert verdict(change, **GOSSIP).startswith("a peer applies its neighbours' mean, or stays alone")


def test_a_last_mean_claimed_and_left_out():
    def change(_, effect):
        return [dataclasses.replace(effect, previous=None)] if isinstance(effect, FinishMean) else [effect]

    moving = {"schedules": (("gamma", (1.0, 0.5)),), "tau": 9}

    assert verdict(lambda _, effect: [effect], **moving) == ""
    assert verdict(change, **moving).startswith("a mean follows from its inputs")
