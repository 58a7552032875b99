"""Whole cores under charters with clocks, tables, standing and other updates; and a proposer that lies."""

import msgspec
import pytest

from swarmdem.protocol import events
from swarmdem.protocol.state import ScheduleClock, pack_sketch
from swarmdem.wire import codec
from swarmdem.wire.messages import FOUNDING, NORMAL, Plan, Proposal
from tests.protocol.core_swarm import CoreSwarm

CHARTERS = {
    "tau and hysteresis": {"tau": 2, "hysteresis": (0, 51)},
    "updates": {"basis": "updates"},
    "cosine": {"metric": "cosine"},
    "drift": {"drift": 2},
    "newcomers and outliers": {"newcomers": "top", "outliers": 2},
    "groups of ward": {"cut": "maxclust", "levels": 2, "cuts": (3.0, 2.0), "linkage": "ward", "min_size": 2},
    "complementary groups": {"cut": "maxclust", "levels": 1, "cuts": (2.0,), "grouping": "complementary"},
    "heights": {"cut": "threshold", "levels": 2, "cuts": (0.3, 0.6)},
    "moving average": {"schedules": (("gamma", (1.0, 0.5)),)},
    "gossip": {"update": "gossip", "levels": 0, "neighbours": 2},
    "alone": {"update": "gossip", "levels": 0, "neighbours": 0},
}


def running(count: int, rounds: int = 1, **settings: object) -> CoreSwarm:
    swarm = CoreSwarm(count, **settings)
    swarm.start(*range(count))
    assert swarm.run(swarm.all_finished(rounds))
    return swarm


@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("settings", CHARTERS.values(), ids=CHARTERS.keys())
def test_every_peer_applies_every_certified_round_and_refuses_nothing(settings, count):
    swarm = running(count, rounds=4, **settings)

    for number in range(1, 5):
        finished = swarm.finished(number)
        assert len(finished) == count
        assert all(e.applied and e.certified for e in finished.values())
    assert swarm.rejects == []


def test_training_is_told_the_tick_of_its_round():
    swarm = running(3, rounds=3)

    assert {(train.round, train.time) for _, train in swarm.trained} >= {(1, 0), (2, 1), (3, 2)}
    assert all(train.time == train.round - 1 for _, train in swarm.trained)


def test_a_risen_loss_sets_the_clock_back_for_everybody_at_once():
    swarm = CoreSwarm(4, drift=2)
    swarm.loss = lambda index, number: 800 if number <= 6 else 1600
    swarm.start(*range(4))
    assert swarm.run(swarm.all_finished(8))

    raised = swarm.of(events.PlasticityRaised)
    assert {index for index, _ in raised} == {0, 1, 2, 3}
    assert {(event.round, event.tick) for _, event in raised} == {(8, 3)}
    ticks = {train.round: train.time for index, train in swarm.trained if index == 0}
    assert [ticks[number] for number in (6, 7, 8, 9)] == [5, 6, 7, 4]


def test_one_peer_whose_loss_rises_does_not_set_the_clock_back():
    swarm = CoreSwarm(3, drift=1)
    swarm.loss = lambda index, number: 800 if number <= 4 or index else 9000
    swarm.start(*range(3))
    assert swarm.run(swarm.all_finished(7))

    assert swarm.of(events.PlasticityRaised) == []


def test_the_founders_sketch_of_the_reference_is_in_every_plan():
    swarm = running(3, rounds=2, metric="cosine")

    plans = [codec.decode_plan(m.plan) for _, m in swarm.sent if isinstance(m, Proposal)]
    founder = next(i for i, m in swarm.sent if isinstance(m, Proposal))
    assert {plan.mode for plan in plans} == {FOUNDING, NORMAL}
    assert {plan.ext for plan in plans} == {((5, pack_sketch(0.5, bytes([founder, 0]) * 16)),)}


def lying(swarm, mode, lie):
    """Have whoever proposes a plan of *mode* first say *lie(plan)* in its place; return the liars."""
    liars, perform = [], swarm._perform

    def changed(index, effect):
        message = effect.frame.message if isinstance(effect, events.Publish) else None
        if isinstance(message, Proposal) and message.mode == mode and (not liars or liars == [index]):
            liars[:] = [index]
            body = codec.encode_plan(lie(codec.decode_plan(message.plan)))
            altered = msgspec.structs.replace(message, plan=body)
            effect = events.Publish(swarm.cores[index]._sealer.seal(altered))
        perform(index, effect)

    swarm._perform = changed
    return liars


def with_ext(plan: Plan, number: int, content: bytes | None) -> Plan:
    entries = {**dict(plan.ext), number: content}
    kept = sorted((n, c) for n, c in entries.items() if c is not None)
    return msgspec.structs.replace(plan, ext=tuple(kept))


LIES = {
    "another tick": (1, ScheduleClock(77, 0, 0).pack(), "does not follow"),
    "half a clock": (1, b"\0\0", "clock of 2 bytes"),
    "no clock": (1, None, "a clock exactly"),
    "another standing": (3, bytes(5), "does not follow"),
    "a standing of nobody": (3, b"", "standing of 0 peers"),
    "a bit too many": (3, b"\xf1" * 5, "is no standing"),
    "a sketch nobody asked for": (5, pack_sketch(1.0, bytes(32)), "a sketch of the reference exactly"),
}


@pytest.mark.parametrize(("number", "content", "why"), LIES.values(), ids=LIES.keys())
def test_a_proposer_that_lies_about_the_state_is_refused_and_the_next_one_leads(number, content, why):
    swarm = CoreSwarm(5, drift=2, outliers=2)
    liars = lying(swarm, NORMAL, lambda plan: with_ext(plan, number, content))
    swarm.start(*range(5))
    others = {0, 1, 2, 3, 4}

    assert swarm.run(lambda: set(swarm.finished(1)) >= others)

    assert len(liars) == 1
    assert {index for index, reason in swarm.rejects if why in reason} >= others - set(liars)
    assert all(event.certified and event.applied for event in swarm.finished(1).values())


@pytest.mark.parametrize(
    "content",
    [None, pack_sketch(1.0, bytes(30)), pack_sketch(-1.0, bytes(32))],
    ids=["none", "short", "negative"],
)
def test_a_founding_plan_needs_the_references_sketch_under_cosine(content):
    swarm = CoreSwarm(4, metric="cosine")
    liars = lying(swarm, FOUNDING, lambda plan: with_ext(plan, 5, content))
    swarm.start(*range(4))

    assert swarm.run(swarm.all_finished(1))

    assert sum("sketch" in reason for _, reason in swarm.rejects) >= 3
    references = {train.reference for _, train in swarm.trained}
    assert len(references) == 1
    assert len(liars) == 1
