"""A founding whose genesis model is lost, or of no use, is given up for another one."""

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from swarmdem.wire.messages import FOUNDING, Digest, Proposal, Vote
from tests.protocol.core_swarm import CoreSwarm, name


def founded(count: int, answer=None, **settings: object) -> tuple[CoreSwarm, int]:
    """Run until the founding is certified; return the swarm and its founder.

    Who looks for the founder's model is told *answer*, or nothing for ever.
    """
    swarm = CoreSwarm(count, **settings)
    perform, founder = swarm._perform, []

    def watched(index, effect):
        if isinstance(effect, events.Fetch) and founder and effect.model == name("first", founder[0]):
            return None if answer is None else swarm._push(0, index, answer(effect.model))
        if isinstance(effect, events.Publish) and isinstance(effect.frame.message, Proposal) and not founder:
            founder.append(index)
        return perform(index, effect)

    swarm._perform = watched
    swarm.start(*range(count))
    assert swarm.run(lambda: bool(swarm.of(events.Certified)))
    return swarm, founder[0]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_others_found_anew_when_the_founder_dies_before_anybody_has_its_model(count):
    swarm, founder = founded(count)
    swarm.kill(founder)
    began = swarm.now

    assert swarm.run(swarm.all_finished(2), limit_s=120)

    others = set(range(count)) - {founder}
    given_up = {i for i, e in swarm.of(events.Degraded) if "founding is given up" in e.what and e.passing}
    assert given_up == others
    references = {train.reference for i, train in swarm.trained if i in others}
    assert len(references) == 1
    assert references != {name("first", founder)}
    assert all(e.certified and e.applied for e in swarm.finished(2).values())
    assert swarm.now - began < (4 + 4) * 8 * SECOND


def test_a_founding_is_not_given_up_while_its_founder_shows_that_it_has_the_model():
    swarm, founder = founded(3)
    swarm.run(lambda: False, limit_s=100)

    assert [m for i, m in swarm.sent if i == founder and isinstance(m, Digest) and m.model]
    assert not [e for _, e in swarm.of(events.Degraded) if "given up" in e.what]


def test_a_genesis_that_nobody_can_use_is_given_up_at_once():
    swarm, founder = founded(5, lambda model: events.FetchFailed(model, "of another schema"))
    swarm.kill(founder)
    began = swarm.now

    assert swarm.run(swarm.all_finished(1), limit_s=120)
    assert swarm.now - began < 4 * 8 * SECOND


def test_nobody_votes_twice_in_a_founding_term_nor_shows_up_twice():
    swarm, founder = founded(4)
    swarm.kill(founder)
    assert swarm.run(swarm.all_finished(1), limit_s=120)

    votes = {(i, m.term, m.plan) for i, m in swarm.sent if isinstance(m, Vote) and m.mode == FOUNDING}
    assert len({vote[:2] for vote in votes}) == len(votes)
    assert swarm.of(events.Equivocated) == []


def test_a_peer_that_restarts_while_it_looks_for_the_genesis_gives_up_too():
    swarm, founder = founded(4)
    swarm.kill(founder)
    swarm.run(lambda: False, limit_s=20)
    restarted = (founder + 1) % 4
    swarm.kill(restarted)
    swarm.start(restarted)

    assert swarm.run(swarm.all_finished(2), limit_s=200)
    votes = {(i, m.term, m.plan) for i, m in swarm.sent if isinstance(m, Vote) and m.mode == FOUNDING}
    assert len({vote[:2] for vote in votes}) == len(votes)


def test_the_founder_that_comes_back_with_its_model_joins_the_others():
    swarm, founder = founded(4)
    swarm.kill(founder)
    assert swarm.run(swarm.all_finished(2), limit_s=120)

    swarm.start(founder)

    reached = max(core.status().round for core in swarm.cores.values())
    assert swarm.run(lambda: len(swarm.finished(reached + 4)) == 4, limit_s=120)
    assert len(swarm.bases()) == 1


def test_a_founding_that_was_given_up_stays_given_up_over_a_restart():
    """It meets the founder, who stands on the old certificate, before anything new is certified."""
    swarm, founder = founded(4)
    swarm.run(lambda: bool(certified(swarm, founder)))
    swarm.kill(founder)
    restarted = (founder + 1) % 4
    assert swarm.run(lambda: restarted in gave_up(swarm), limit_s=120)
    old = certified(swarm, founder)
    assert certified(swarm, restarted) == old
    for index in sorted(swarm.cores):
        swarm.kill(index)
    swarm._perform = CoreSwarm._perform.__get__(swarm)  # now the founder would give its model

    swarm.start(restarted, founder)

    assert swarm.run(lambda: len(swarm.bases()) == 1 and len(certified(swarm, restarted)) > 3, limit_s=120)
    assert certified(swarm, restarted).count(*old) == 1


def gave_up(swarm: CoreSwarm) -> list[int]:
    return [i for i, e in swarm.of(events.Degraded) if "founding is given up" in e.what]


def certified(swarm: CoreSwarm, index: int) -> list[bytes]:
    return [e.plan for i, e in swarm.of(events.Certified) if i == index]
