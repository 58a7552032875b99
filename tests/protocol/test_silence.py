"""Who waits says which digest it stands by, and who missed it asks; only after an outage it is said again."""

from swarmdem.identifiers import SECOND
from swarmdem.simulation.signatures import PretendedIdentity
from swarmdem.wire.extensions import STANDING, entry
from swarmdem.wire.messages import DIGESTS, Digest, Ping, Want
from tests.protocol.core_swarm import CoreSwarm


def waiting_for_a_slow_peer(lose=lambda frame, receiver: False):
    """Return a swarm on its first certificate in which peer 0 has trained and peer 2 takes long."""
    swarm = CoreSwarm(3)
    swarm.lose = lose
    swarm.training = lambda index: (10 if index == 2 else 1) * SECOND
    swarm.start(0, 1, 2)
    assert swarm.run(lambda: len(digests_of(swarm, 0)) == 1)
    return swarm


def is_upload(frame):
    return isinstance(frame.message, Digest) and bool(frame.message.model)


def digests_of(swarm, index):
    return [m for i, m in swarm.sent if i == index and isinstance(m, Digest) and m.model]


def test_a_silence_is_broken_by_a_ping_that_names_the_digest():
    swarm = waiting_for_a_slow_peer()
    began = len(swarm.sent)

    swarm.run(lambda: False, limit_s=4.5)

    pings = [m for i, m in swarm.sent[began:] if i == 0 and isinstance(m, Ping)]
    held = swarm.cores[1]._round.agreement.s.digests.current[swarm.peer(0)]
    assert [entry(ping.ext, STANDING) for ping in pings] == [held.id, held.id]
    assert len(digests_of(swarm, 0)) == 1


def test_who_missed_a_digest_asks_for_it_when_it_is_named():
    swarm = waiting_for_a_slow_peer(
        lambda frame, receiver: (
            receiver == 1 and frame.sender != PretendedIdentity(1).peer and is_upload(frame)
        )
    )
    agreement = swarm.cores[1]._round.agreement
    swarm.run(lambda: False, limit_s=1)
    assert swarm.peer(0) not in agreement.s.digests.current

    swarm.run(lambda: False, limit_s=2)

    assert [m.what for i, m in swarm.sent if i == 1 and isinstance(m, Want)] == [DIGESTS]
    assert swarm.peer(0) in agreement.s.digests.current


def test_a_digest_is_said_again_after_an_outage():
    swarm = waiting_for_a_slow_peer()
    swarm.run(lambda: False, limit_s=0.5)

    swarm.lose = lambda frame, receiver: receiver == 0 or frame.sender == swarm.peer(0)
    swarm.run(lambda: False, limit_s=5)
    swarm.lose = lambda frame, receiver: False
    swarm.run(lambda: False, limit_s=4)

    assert len(digests_of(swarm, 0)) == 2
