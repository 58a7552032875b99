"""A bug of each kind is planted, caught by its invariant, and its schedule shrunk to what it takes.

The bugs are planted here, around the core or in place of one of its functions; the product has no switch
for them.
"""

import dataclasses

import pytest

from swarmdem.errors import WireError
from swarmdem.identifiers import SECOND
from swarmdem.protocol.ballots import Ballots
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Accumulate, Certified, Persist, Report
from swarmdem.protocol.plans import make_plan
from swarmdem.protocol.proposals import Proposals
from swarmdem.protocol.voting import Voting
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.forgeries import Forger
from swarmdem.simulation.schedules import Schedule, from_json, to_json
from swarmdem.simulation.shrinking import Shrinker
from swarmdem.simulation.weather import Weather
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import NORMAL
from swarmdem.wire.signing import peer_id

NOISE = (
    Fault(Kind.SLOW, 12 * SECOND, 20 * SECOND, (1,), 2.0),
    Fault(Kind.DELAY, 15 * SECOND, 30 * SECOND, (0, 2), 200.0),
    Fault(Kind.QUEUES, 15 * SECOND, 40 * SECOND, (), 30.0),
    Fault(Kind.LEAVE, 30 * SECOND, 33 * SECOND, (3,)),
)
"""Faults that have nothing to do with the bugs."""


def noisy(*faults, loss):
    return Schedule(seed=0, peers=4, rounds=3, weather=Weather(loss=loss), faults=(*NOISE, *faults))


def shrunk(schedule, core_factory=Core, *, seeds):
    """Return the first of *seeds* under which *schedule* breaks something, shrunk and read back from JSON."""

    def play(candidate):
        return candidate.play(core_factory)

    tried = (dataclasses.replace(schedule, seed=seed) for seed in seeds)
    broken = next(candidate for candidate in tried if play(candidate).broken)
    small = from_json(to_json(Shrinker(play, runs_max=20).shrink(broken)))
    assert play(small).invariant == small.invariant
    return small


def test_an_input_counted_twice():
    class Generous(Core):
        counted = False

        def handle(self, event, now):
            effects = super().handle(event, now)
            first = next((e for e in effects if isinstance(e, Accumulate)), None)
            if first is not None and not self.counted:
                self.counted = True
                effects.insert(effects.index(first), first)
            return effects

    small = shrunk(noisy(loss=0.05), Generous, seeds=range(9))

    assert small.invariant == "a mean is the mean of what it includes (eq. 9)"
    assert (small.faults, small.rounds, small.weather) == ((), 1, Weather())


def test_a_term_that_was_skipped_is_accepted(monkeypatch):
    monkeypatch.setattr(Ballots, "may_vote", lambda self, mode, term: (mode, term) not in self.cast)

    small = shrunk(noisy(loss=0.2), seeds=range(9))

    assert small.invariant == "no vote in a skipped term"
    assert not small.faults


def test_another_tree_after_a_restart():
    class Confused(Core):
        def __init__(self, charter, sealer, *, stored):
            super().__init__(charter, sealer, stored=stored)
            self.restarted = sealer.session > 1

        def handle(self, event, now):
            return [self.changed(effect) for effect in super().handle(event, now)]

        def changed(self, effect):
            if self.restarted and isinstance(effect, Report) and isinstance(effect.event, Certified):
                return Report(dataclasses.replace(effect.event, tree=bytes(32)))
            return effect

    kill = Fault(Kind.KILL, 20 * SECOND, 25 * SECOND, (1,), 3)

    small = shrunk(noisy(kill, loss=0.05), Confused, seeds=range(9))

    assert "tree" in small.invariant
    assert len(small.faults) <= 2
    assert {fault.kind for fault in small.faults} & {Kind.KILL, Kind.LEAVE}


def test_votes_that_are_not_on_disk():
    class Forgetful(Core):
        def handle(self, event, now):
            return [e for e in super().handle(event, now) if getattr(e, "key", "") != "ballots"]

    stumble = Fault(Kind.STUMBLE, 20 * SECOND, 60 * SECOND, (0, 1, 2, 3), 1)

    small = shrunk(noisy(stumble, loss=0.3), Forgetful, seeds=range(9))

    assert small.invariant in {
        "one vote per peer, base and term",
        "a skip carries the sender's highest vote",
        "no vote in a skipped term",
    }
    assert len(small.faults) <= 3
    assert Kind.STUMBLE in {fault.kind for fault in small.faults}


def test_the_rule_to_propose_the_highest_vote_again_is_dropped(monkeypatch):
    def propose_something_else(self, voted, skips, now):
        s = self.s
        listed = dict(sorted(s.digests.current.items()))
        listed.pop(list(listed)[self.term % len(listed)])
        plan = make_plan(s.charter, s.base, NORMAL, listed, reference=s.base.reference)
        return self._propose(plan, self.term, skips, now)

    cuts = (Fault(Kind.CUT, at, at + 3 * SECOND, (at // SECOND // 4 % 4,), 1.0) for at in CUT_AT)
    schedule = Schedule(seed=0, peers=4, rounds=3, weather=Weather(loss=0.4), faults=tuple(cuts))
    with monkeypatch.context() as patch:
        patch.setattr(Voting, "_repropose", propose_something_else)
        patch.setattr(Proposals, "_justified", lambda self, proposal, plan: True)
        small = shrunk(schedule, seeds=(56, 67, *range(40)))

    assert small.invariant == "at most one normal certificate per base"
    assert len(small.faults) < len(schedule.faults)
    assert small.play().broken == ""


CUT_AT = range(12 * SECOND, 60 * SECOND, 4 * SECOND)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_shrunk_when_nothing_is_broken(seed):
    schedule = dataclasses.replace(noisy(loss=0.05), seed=seed)
    shrinker = Shrinker()

    assert shrinker.shrink(schedule) is schedule
    assert shrinker.runs == 0


def test_a_core_that_persists_nothing_at_all_is_caught_too():
    """The shell's promise about disks is only as good as what the core orders."""

    class Careless(Core):
        def handle(self, event, now):
            return [e for e in super().handle(event, now) if not isinstance(e, Persist)]

    stumble = Fault(Kind.STUMBLE, 20 * SECOND, 60 * SECOND, (0, 1, 2, 3), 1)

    assert dataclasses.replace(noisy(stumble, loss=0.3), seed=1).play(Careless).broken


class PackForger(Forger):
    def __init__(self, charter, rng):
        super().__init__(charter, rng)
        self._absurd = (self._pack,)


def test_the_digests_of_a_pack_are_believed_unsigned(monkeypatch):
    rebuilt = FrameSealer.rebuilt

    def believed(self, message, public_key, numbers, signature):
        try:
            return rebuilt(self, message, public_key, numbers, signature)
        except WireError:
            fake = {"sender": peer_id(public_key), "public_key": public_key, "session": numbers[0]}
            return dataclasses.replace(self.seal(message), **fake)

    forge = Fault(Kind.FORGE, 10 * SECOND, 60 * SECOND, (0, 1))
    schedule = Schedule(seed=2, peers=7, rounds=5, charter={"tau": 9}, crowds=(4,), faults=(forge,))
    monkeypatch.setattr("swarmdem.simulation.liars.Forger", PackForger)
    assert schedule.play().broken == ""

    monkeypatch.setattr(FrameSealer, "rebuilt", believed)

    assert schedule.play().invariant == "listed digests were published"
