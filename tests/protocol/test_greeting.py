"""Refusals are believed when more peers refuse than share our charter, once those could be heard."""

from swarmdem.identifiers import PeerId
from swarmdem.protocol import events
from swarmdem.protocol.greeting import REFUSALS_MAX, Refusals
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Refusal
from tests.protocol.core_swarm import CoreSwarm, name

ANN, BOB, EVE = (PeerId(letter * 16) for letter in (b"a", b"b", b"e"))


def test_a_refusal_is_believed_after_a_quarter_of_patience_when_nobody_shares_our_charter():
    refusals = Refusals(800)
    refusals.add(ANN, ("mixing",))

    assert refusals.judged((), 199) == []
    assert refusals.deadlines(0) == [200]
    assert refusals.judged((), 200) == [events.Report(events.CharterRefused(ANN, ("mixing",)))]
    assert refusals.judged((), 900) == []


def test_as_many_peers_of_our_charter_outweigh_those_who_refuse():
    refusals = Refusals(800)
    refusals.add(ANN, ("mixing",))
    assert refusals.judged((BOB,), 300) == []

    refusals.add(EVE, ("mixing",))
    assert refusals.judged((BOB,), 300) == [events.Report(events.CharterRefused(ANN, ("mixing",)))]


def test_who_shares_our_charter_does_not_refuse_it_and_memory_is_bounded():
    refusals = Refusals(800)
    refusals.add(BOB, ("mixing",))
    assert refusals.judged((BOB,), 300) == []

    for number in range(2 * REFUSALS_MAX):
        refusals.add(PeerId(number.to_bytes(16, "big")), ("levels",))
    assert len(refusals._settings) == REFUSALS_MAX


def test_one_liar_who_saw_the_nonce_does_not_turn_a_founder_away():
    swarm = CoreSwarm(3)
    swarm.start(0, 1, 2)
    swarm.run(lambda: len(swarm.sent) >= 3, limit_s=1)
    liar = FrameSealer(PretendedIdentity(9), swarm.charter, 1, PretendedVerifier())
    swarm.sessions[9] = 1
    swarm.give(0, events.Received(liar.seal(Refusal(name("nonce", 0, 1)[:16], ("mixing",)))))

    assert swarm.run(swarm.all_finished(1))
    assert swarm.of(events.CharterRefused) == []
