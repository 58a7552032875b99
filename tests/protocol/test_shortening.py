"""Proposals and certificates cross in few bytes; whoever cannot rebuild them asks for the long form."""

import pytest
from msgspec import structs

from swarmdem.identifiers import GroupId, PeerId, PlanId
from swarmdem.protocol import events
from swarmdem.protocol.shortening import shorten_mean
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import CERTIFICATES, PLANS, Certificate, Digest, Mean, Proposal, Vote, Want
from swarmdem.wire.shortened import ShortCertificate, ShortProposal, bitmap, numbers_in
from tests.protocol.core_swarm import CoreSwarm

UNDECIDED = Vote | ShortCertificate | Certificate
"""Without these a plan stays a proposal."""


def founded(count=4, **settings):
    """Return a swarm that has just ended its first round, and the list of what crosses from then on."""
    swarm = CoreSwarm(count, **settings)
    swarm.start(*range(count))
    assert swarm.run(at_round(swarm, 1))
    return swarm


def at_round(swarm, number):
    return lambda: all(core.status().round >= number for core in swarm.cores.values())


def overheard(swarm, lose=lambda frame, receiver: False):
    crossed = []

    def listening(frame, receiver):
        crossed.append((receiver, frame))
        return lose(frame, receiver)

    swarm.lose = listening
    return crossed


def kinds(crossed):
    return {type(frame.message) for _, frame in crossed}


def wants(swarm, index):
    return [m.what for i, m in swarm.sent if i == index and isinstance(m, Want)]


@pytest.mark.parametrize("agreement", ["available", "bft"])
def test_in_calm_neither_a_plan_nor_a_certificate_crosses(agreement):
    swarm = founded(agreement=agreement)
    crossed = overheard(swarm)

    assert swarm.run(at_round(swarm, 4))

    assert {ShortProposal, ShortCertificate} <= kinds(crossed)
    assert not {Proposal, Certificate, Want} & kinds(crossed)


def test_a_short_proposal_becomes_the_very_frame_its_leader_signed():
    swarm = founded()
    crossed = overheard(swarm, lambda frame, receiver: isinstance(frame.message, UNDECIDED))
    assert not swarm.run(at_round(swarm, 2), limit_s=5)
    told = next(frame for _, frame in crossed if isinstance(frame.message, ShortProposal))

    offered = [
        core._round.agreement.voting.proposals.plan(told.message.plan) for core in swarm.cores.values()
    ]

    assert len({plan.frame.raw for plan in offered}) == 1
    assert {plan.frame.sender for plan in offered} == {told.sender}
    assert offered[0].frame.sequence == told.message.sequence


def test_whoever_lacks_a_digest_asks_for_the_plan_and_votes():
    swarm = founded()
    lacking = {1, 2}
    overheard(
        swarm,
        lambda frame, receiver: (
            receiver in lacking and isinstance(frame.message, Digest) and frame.sender == swarm.peer(3)
        ),
    )

    assert swarm.run(at_round(swarm, 2))

    assert PLANS in wants(swarm, 1) + wants(swarm, 2)
    assert {e.plan for _, e in swarm.of(events.Certified) if e.round == 2 and len(e.peers) == 4}


def test_a_plan_that_came_in_full_is_no_longer_waited_for():
    swarm = founded()
    overheard(
        swarm,
        lambda frame, receiver: (
            (receiver == 1 and isinstance(frame.message, Digest) and frame.sender == swarm.peer(3))
            or isinstance(frame.message, UNDECIDED)
        ),
    )
    agreement = swarm.cores[1]._round.agreement
    assert swarm.run(lambda: agreement._short.waiting, limit_s=9)

    assert swarm.run(lambda: agreement.voting.proposals.of_leader(0), limit_s=2)

    assert not agreement._short.waiting
    assert swarm.peer(3) not in agreement.s.digests.current


@pytest.mark.parametrize(("group", "bytes_saved"), [(10, 91), (300, 55), (1000, None)])
def test_a_mean_crosses_in_short_only_where_that_saves_bytes(group, bytes_saved):
    swarm = CoreSwarm(1)
    sealer = FrameSealer(PretendedIdentity(0), swarm.charter, 1, PretendedVerifier())
    members = tuple(PeerId(number.to_bytes(16, "big")) for number in range(group))
    mean = Mean(PlanId(bytes(32)), 0, GroupId(bytes(16)), 0, 9, members[:9], bytes(32), 100, ())
    long = sealer.seal(mean)

    short = shorten_mean(sealer, members, long)

    assert (len(long.raw) - len(short.raw) if short else None) == bytes_saved


def test_votes_lost_come_with_the_short_certificate():
    swarm = founded()
    crossed = overheard(swarm, lambda frame, receiver: receiver == 2 and isinstance(frame.message, Vote))

    assert swarm.run(at_round(swarm, 2))

    assert next(f.sender for _, f in crossed if isinstance(f.message, ShortProposal)) != swarm.peer(2)
    assert CERTIFICATES not in wants(swarm, 2)


def test_forged_votes_certify_nothing():
    swarm = founded()
    crossed = overheard(swarm, lambda frame, receiver: isinstance(frame.message, UNDECIDED))
    assert not swarm.run(at_round(swarm, 2), limit_s=6)
    plan = next(frame.message.plan for _, frame in crossed if isinstance(frame.message, ShortProposal))
    base, core = swarm.cores[0].status().base, swarm.cores[1]

    forged = core._sealer.seal(ShortCertificate(base, plan, 0, bitmap({0, 1, 2}, 4), bytes(192)))
    swarm.give(0, events.Received(forged))

    assert swarm.cores[0].status().base == base


def test_a_stranger_that_makes_up_votes_is_not_asked_for_their_plan():
    swarm = founded()
    agreement = swarm.cores[0]._round.agreement
    made_up = ShortCertificate(swarm.cores[0].status().base, b"p" * 32, 0, bitmap({0, 1, 2}, 4), bytes(192))
    elector = swarm.cores[1]._sealer
    stranger = FrameSealer(PretendedIdentity(99), swarm.charter, 1, PretendedVerifier())

    asked = []
    for sealer in (stranger, elector):
        swarm.give(0, events.Received(sealer.seal(made_up)))
        asked.append(list(agreement.voting.proposals._unknown))

    assert asked == [[], [b"p" * 32]]


def test_only_the_leader_of_the_first_term_may_propose_in_short():
    swarm = founded()
    crossed = overheard(swarm)
    assert swarm.run(lambda: ShortProposal in kinds(crossed))
    told = next(frame for _, frame in crossed if isinstance(frame.message, ShortProposal))
    leader = swarm.index(told.sender)
    other, listener = ((leader + step) % 4 for step in (1, 2))

    swarm.give(listener, events.Received(swarm.cores[other]._sealer.seal(again(told, 7))))
    for number in range(6):
        swarm.give(listener, events.Received(swarm.cores[leader]._sealer.seal(again(told, number))))

    refused = [reason for index, reason in swarm.rejects if index == listener]
    assert "proposer does not lead this term" in refused
    assert "too many proposals for one term" in refused


def again(frame, number):
    return structs.replace(frame.message, plan=bytes([number]) * 32)


@pytest.mark.parametrize("numbers", [set(), {0}, {7, 8}, {0, 3, 17}])
def test_a_bitmap_gives_back_its_numbers(numbers):
    assert numbers_in(bitmap(numbers, 18)) == sorted(numbers)
    assert len(bitmap(numbers, 18)) == 3


def test_the_lowest_bit_of_the_first_byte_is_the_first_elector():
    assert bitmap({0, 9}, 10) == b"\x01\x02"
