"""A swarm that was switched off as a whole and comes back in part."""

from swarmdem.identifiers import SECOND
from tests.protocol.core_swarm import CoreSwarm


def test_peers_that_did_not_come_back_are_waited_for_no_longer_than_any_that_falls_silent():
    """Nobody was heard since the restart; three of five are a majority and freeze a patience later."""
    swarm = CoreSwarm(5)
    swarm.start(*range(5))
    assert swarm.run(swarm.all_finished(1))
    for index in range(5):
        swarm.kill(index)
    back = swarm.now

    swarm.start(0, 1, 2)
    number = max(rounds(swarm))

    assert swarm.run(lambda: all(r > number for r in rounds(swarm)))
    assert swarm.now - back < 2 * 8 * SECOND


def rounds(swarm):
    return [core.status().round for core in swarm.cores.values()]
