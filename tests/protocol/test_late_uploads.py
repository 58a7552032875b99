"""What becomes of a training that outlasts its round: it is counted in a later one, once."""

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from swarmdem.protocol.status import Phase
from swarmdem.wire.messages import Bundle, Digest
from tests.protocol.core_swarm import CoreSwarm, name

SLOW = 4
SAID = Digest | Bundle
"""What a digest crosses in: whoever lacks the one a ping names asks for it."""


def swarm_with_a_slow_peer(seconds):
    swarm = CoreSwarm(5)
    swarm.training = lambda index: (seconds if index == SLOW else 3) * SECOND
    swarm.start(*range(5))
    return swarm


def digests_of(swarm, index):
    seen = {m.base: m for sender, m in swarm.sent if sender == index and isinstance(m, Digest) and m.model}
    return list(seen.values())


def listed_in(swarm, index):
    """Models that adopted plans list for a peer, in order of rounds; each plan once."""
    frames = {}
    for core in swarm.cores.values():
        record = core.round_record()
        if record is not None and swarm.peer(index) in record.digests:
            frames[record.base.round] = record.digests[swarm.peer(index)].model
    return frames


def test_a_training_that_outlasts_its_round_goes_on_and_counts_once_in_a_later_one():
    swarm = swarm_with_a_slow_peer(40)
    counted = {}

    def after_rounds():
        counted.update(listed_in(swarm, SLOW))
        return swarm.cores[0].status().round >= 16

    assert swarm.run(after_rounds)

    orders = [order for index, order in swarm.trained if index == SLOW]
    assert len(orders) <= 4  # not one a round: each was carried to its end
    assert len(counted) >= 3
    assert len(set(counted.values())) == len(counted)  # each model in one plan
    ages = [digest.age for digest in digests_of(swarm, SLOW)]
    assert min(ages) >= 1  # its digests say for how many rounds it went without a result
    assert max(ages) >= 4


def test_an_upload_that_came_too_late_to_be_listed_is_offered_again_on_the_next_base():
    swarm = swarm_with_a_slow_peer(3)
    swarm.run(lambda: all(core.status().round == 1 for core in swarm.cores.values()))
    base = swarm.cores[0].status().base
    mine = swarm.peer(SLOW)
    swarm.lose = lambda frame, to: to != SLOW and frame.sender == mine and isinstance(frame.message, SAID)
    swarm.run(lambda: all(core.status().round == 2 for core in swarm.cores.values()))
    unlisted = swarm.cores[0].round_record()
    swarm.lose = lambda frame, to: False
    swarm.run(lambda: all(core.status().round == 3 for core in swarm.cores.values()))
    counted = swarm.cores[0].round_record()

    first, again = [d for d in digests_of(swarm, SLOW) if d.base == base or d.round == 3]
    assert mine not in unlisted.digests
    assert (first.round, first.age) == (2, 0)
    assert (again.round, again.age) == (3, 1)
    assert again.model == first.model == counted.digests[mine].model
    assert [order.round for index, order in swarm.trained if index == SLOW] == [1, 2]  # none for round 3


def test_an_upload_that_was_listed_is_never_offered_again():
    swarm = swarm_with_a_slow_peer(3)

    swarm.run(lambda: swarm.cores[0].status().round == 6)

    models = [digest.model for digest in digests_of(swarm, SLOW)]
    assert len(set(models)) == len(models)


def test_a_training_that_ends_in_the_very_moment_of_a_certificate_is_not_lost():
    """The certificate is adopted, the update it does not list this peer in is not yet given up."""
    swarm = swarm_with_a_slow_peer(10**6)
    swarm.run(lambda: swarm.cores[SLOW].status().round == 2)
    core, order = swarm.cores[SLOW], next(order for index, order in swarm.trained if index == SLOW)
    plan = core.round_record().base.plan
    assert swarm.peer(SLOW) not in {entry.peer for entry in plan.entries if entry.listed}
    core._round.phase = Phase.UPDATING  # as `_adopt` leaves it when the votes came with the last input

    trained = events.Trained(order.base, name("m"), 100, 1, 1.0, bytes(16), 5 * SECOND)
    effects = core.handle(trained, swarm.now)

    digests = [e.frame.message for e in effects if isinstance(e, events.Publish)]
    assert [digest.model for digest in digests if isinstance(digest, Digest)] == [name("m")]
