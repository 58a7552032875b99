"""Who tells the others of a certificate: its leader, or another holder unless it hears that somebody did."""

import pytest
from msgspec import structs

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire import codec
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import NORMAL, Certificate, SignedVote, Vote
from swarmdem.wire.shortened import ShortCertificate, bitmap
from swarmdem.wire.signing import peer_id
from tests.protocol.core_swarm import CoreSwarm

PEERS = 5
TELLING = Certificate | ShortCertificate


class Told:
    """A swarm in which everybody has the votes for round 1, and no word of its leader has come through."""

    def __init__(self, **settings):
        self.swarm = CoreSwarm(PEERS, **settings)
        self.swarm.start(*range(PEERS))
        cores = self.swarm.cores.values()
        assert self.swarm.run(lambda: all(core._base.plan is not None for core in cores))
        self.said = []
        self.swarm.lose = self.listen
        assert self.swarm.run(lambda: all(core.status().round == 1 for core in cores))
        self.short = next(f for f in self.said if isinstance(f.message, ShortCertificate))
        self.leader = self.swarm.index(self.short.sender)
        self.other, self.hearer = [index for index in range(PEERS) if index != self.leader][:2]

    def listen(self, frame, receiver):
        telling = isinstance(frame.message, TELLING)
        if telling:
            self.said.append(frame)
        return telling

    def hear(self, message, sealer=None):
        sealer = sealer or self.swarm.cores[self.other]._sealer
        self.swarm.give(self.hearer, events.Received(sealer.seal(message)))

    def tells(self):
        """Return whether the hearer tells the others in the time it may take."""
        began = len(self.swarm.sent)
        self.swarm.run(lambda: False, limit_s=1.5)
        return any(i == self.hearer and isinstance(m, TELLING) for i, m in self.swarm.sent[began:])


@pytest.mark.parametrize("agreement", ["available", "bft"])
def test_another_holder_tells_when_the_word_of_the_leader_is_lost(agreement):
    assert Told(agreement=agreement).tells()


@pytest.mark.parametrize("form", ["short", "long"])
def test_nobody_tells_what_another_has_told(form):
    told = Told()
    certificate = told.swarm.cores[told.other].round_record().certificate

    told.hear(told.short.message if form == "short" else certificate)

    assert not told.tells()


FORGED = {
    "votes that nobody cast": lambda short: structs.replace(short, signatures=bytes(len(short.signatures))),
    "too few votes": lambda short: structs.replace(
        short, voters=bitmap({0}, PEERS), signatures=short.signatures[:64]
    ),
    "votes of no elector": lambda short: structs.replace(short, voters=b"\xe0"),
    "another term": lambda short: structs.replace(short, term=3),
    "no certificate": lambda short: structs.replace(short, base=b"b" * 32, plan=b"p" * 32),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_certificate_keeps_nobody_from_telling(forged):
    told = Told()

    told.hear(forged(told.short.message))

    assert told.tells()


def beside_what_is_held(told, cast):
    """Return the hearer's certificate, in both forms, with one vote it holds and those of *cast*."""
    held, base = told.swarm.cores[told.hearer].round_record().certificate, told.short.message.base
    electors = sorted(told.swarm.peer(index) for index in range(PEERS))
    vote = Vote(base, NORMAL, held.term, told.short.message.plan)
    theirs = {peer_id(v.public_key): v for v in held.votes}
    kept = min(theirs)
    others = [told.swarm.index(peer) for peer in electors if peer not in theirs]
    votes = {kept: theirs[kept]} | {told.swarm.peer(index): cast(told, index, vote) for index in others}
    numbers = [number for number, peer in enumerate(electors) if peer in votes]
    signatures = b"".join(votes[electors[number]].signature for number in numbers)
    short = structs.replace(told.short.message, voters=bitmap(set(numbers), PEERS), signatures=signatures)
    return {
        "short": short,
        "long": Certificate(held.plan, held.term, tuple(votes[peer] for peer in sorted(votes))),
    }


def genuine(told, index, vote):
    frame = told.swarm.cores[index]._sealer.seal(vote)
    return SignedVote(frame.public_key, frame.signature)


def made_up(told, index, vote):
    return SignedVote(PretendedIdentity(index).public_key, bytes(64))


@pytest.mark.parametrize("form", ["short", "long"])
@pytest.mark.parametrize(("cast", "tells"), [(genuine, False), (made_up, True)])
def test_votes_that_are_not_held_are_verified(form, cast, tells):
    """Who has heard the votes could otherwise be kept silent by one that makes up those it lacks."""
    told = Told()

    told.hear(beside_what_is_held(told, cast)[form])

    assert told.tells() == tells


def test_a_stranger_that_repeats_a_certificate_keeps_nobody_from_telling():
    told = Told()
    stranger = FrameSealer(PretendedIdentity(99), told.swarm.charter, 1, PretendedVerifier())

    told.hear(told.short.message, stranger)

    assert told.tells()


def test_votes_that_came_with_the_telling_are_told_once():
    """Who certifies by the votes of another's short certificate knows that all have heard them."""
    told = Told()
    swarm, hearer = told.swarm, told.hearer
    swarm.lose = lambda frame, to: to == hearer and isinstance(frame.message, Vote)
    swarm.run(lambda: False, limit_s=1.5)
    began = len(swarm.sent)

    assert swarm.run(lambda: swarm.cores[hearer].status().round == 2)
    swarm.run(lambda: False, limit_s=2)

    assert len([i for i, m in swarm.sent[began:] if isinstance(m, Certificate)]) == 1


def test_the_vote_of_a_peer_that_gave_no_digest_is_known_by_its_key_of_the_round_before():
    """One of three trains for a minute; its vote, in the leader's certificate of round 1, is not here."""
    swarm = CoreSwarm(3)
    swarm.training = lambda index: SECOND * (60 if index == 2 else 3)
    unheard = {(swarm.peer(2), 0), (swarm.peer(0), 1)}
    swarm.lose = lambda frame, to: isinstance(frame.message, Vote) and (frame.sender, to) in unheard
    swarm.start(*range(3))
    assert swarm.run(lambda: swarm.cores[0].status().round == 2)

    told = [(i, codec.decode_plan(m.plan).round) for i, m in swarm.sent if isinstance(m, Certificate)]
    assert told == [(0, 0), (1, 1), (0, 2)], "each by one"
