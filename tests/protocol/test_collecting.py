"""For whom a peer waits before it freezes its set of digests, and until when exactly."""

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from tests.protocol.core_swarm import CoreSwarm, name


def on_its_first_tree(training):
    """Return three peers that stand on their first tree; peer i trains for *training*[i] seconds."""
    swarm = CoreSwarm(3)
    swarm.start(0, 1, 2)
    assert swarm.run(lambda: all(core.status().round == 1 for core in swarm.cores.values()))
    swarm.training = lambda index: training[index] * SECOND
    return swarm


def agreement_of(swarm, index):
    return swarm.cores[index]._round.agreement


def gone_at(swarm, index, other):
    return agreement_of(swarm, index).s.suspicion.gone_at(swarm.peer(other), 0)


def test_the_set_is_frozen_the_moment_the_last_one_missing_is_gone():
    swarm = on_its_first_tree([1, 1, 30])
    swarm.run(lambda: False, limit_s=5)
    swarm.kill(2)

    assert swarm.run(lambda: agreement_of(swarm, 0).voting.frozen_at is not None, limit_s=20)

    assert agreement_of(swarm, 0).voting.frozen_at == gone_at(swarm, 0, 2)


def test_who_was_waited_for_first_comes_and_the_next_one_is_missed_in_time():
    first, me, dead = sorted(range(3), key=lambda index: CoreSwarm(3).peer(index))
    swarm = on_its_first_tree({first: 60, me: 1, dead: 60})
    swarm.run(lambda: False, limit_s=5)
    swarm.kill(dead)
    at = gone_at(swarm, me, dead)
    swarm.run(lambda: False, limit_s=(at - swarm.now) / SECOND - 0.06)
    order = next(order for index, order in reversed(swarm.trained) if index == first)

    trained = events.Trained(order.base, name("trained"), 100, 5, 1.0, bytes(16), 60 * SECOND, 0)
    swarm.give(first, trained)

    assert swarm.run(lambda: agreement_of(swarm, me).voting.frozen_at is not None, limit_s=10)
    assert agreement_of(swarm, me).voting.frozen_at == at
