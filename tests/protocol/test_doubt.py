"""A peer whose records were lost in part may have voted: it abstains until it cannot vote twice."""

import pytest

from swarmdem.identifiers import SECOND
from swarmdem.protocol.ballots import read_record
from swarmdem.wire.messages import FOUNDING, Certificate, Proposal, Skip, Vote
from swarmdem.wire.shortened import ShortCertificate
from tests.protocol.core_swarm import CoreSwarm


def forgetful(count: int, **settings: object) -> tuple[CoreSwarm, int, bytes]:
    """Return a swarm, and a peer that was shot after its first vote on a base, which its disk then lost.

    Nobody has certified that base's child: no vote has arrived.
    """
    swarm = CoreSwarm(count, **settings)
    swarm.start(*range(count))
    assert swarm.run(swarm.all_finished(1))
    base = swarm.cores[0].status().base
    swarm.lose = lambda frame, receiver: isinstance(frame.message, Vote | Certificate | ShortCertificate)
    (victim,) = (i for i in range(count) if swarm.peer(i) == ranked_last(swarm))
    assert swarm.run(lambda: bool(said(swarm, victim, base)))
    swarm.kill(victim)
    assert read_record(swarm.disks[victim].pop("ballots")).votes
    swarm.disks[victim]["doubt"] = b"\1"
    return swarm, victim, base


def back_for_long(swarm: CoreSwarm, victim: int) -> int:
    """Start the peer and let votes arrive again a while later; return how many frames were sent before."""
    sent = len(swarm.sent)
    swarm.start(victim)
    swarm.run(lambda: False, limit_s=16)
    swarm.lose = lambda frame, receiver: False
    return sent


def ranked_last(swarm: CoreSwarm) -> bytes:
    """Return an elector that does not lead the first term."""
    return swarm.cores[0]._round.agreement.voting.proposals.leader(len(swarm.cores) - 1)


def said(swarm: CoreSwarm, index: int, base: bytes, *, since: int = 0) -> list[object]:
    """Return what of its own a peer has put its weight behind on *base*."""
    kinds = Vote | Skip
    frames = [m for i, m in swarm.sent[since:] if i == index]
    return [m for m in frames if isinstance(m, kinds) and m.base == base]


def test_a_peer_that_lost_its_vote_leaves_the_others_to_certify_and_then_takes_part_again():
    swarm, victim, base = forgetful(3)
    restarted = back_for_long(swarm, victim)

    assert swarm.run(lambda: swarm.cores[victim].status().base != base, limit_s=60)
    assert said(swarm, victim, base, since=restarted) == []
    assert swarm.run(lambda: "doubt" not in held(swarm, victim), limit_s=60)
    trusted = swarm.cores[victim].status().base
    assert swarm.run(lambda: bool(said(swarm, victim, trusted)), limit_s=60)


def held(swarm: CoreSwarm, index: int) -> dict[str, bytes]:
    return {key: value for key, value in swarm.disks[index].items() if value}


def test_without_a_mark_of_the_loss_it_would_have_voted_again():
    swarm, victim, base = forgetful(3)
    del swarm.disks[victim]["doubt"]
    restarted = back_for_long(swarm, victim)

    assert swarm.run(lambda: swarm.cores[victim].status().base != base, limit_s=60)
    assert said(swarm, victim, base, since=restarted)


def test_the_doubt_outlives_another_restart():
    swarm, victim, base = forgetful(3)
    restarted = len(swarm.sent)
    for _ in range(2):
        swarm.start(victim)
        swarm.run(lambda: False, limit_s=0.1)
        swarm.kill(victim)
    back_for_long(swarm, victim)

    assert swarm.run(lambda: swarm.cores[victim].status().base != base, limit_s=60)
    assert said(swarm, victim, base, since=restarted) == []


def test_a_vote_that_is_needed_is_given_after_four_patiences():
    swarm, victim, base = forgetful(2)
    began, restarted = swarm.now, back_for_long(swarm, victim)

    assert swarm.run(lambda: bool(said(swarm, victim, base, since=restarted)), limit_s=60)
    assert 4 * 8 * SECOND <= swarm.now - began < 5 * 8 * SECOND
    assert swarm.run(swarm.all_finished(3), limit_s=60)


def test_where_two_thirds_decide_it_is_not_given_at_all():
    swarm, victim, base = forgetful(2, agreement="bft")
    restarted = back_for_long(swarm, victim)

    assert not swarm.run(lambda: swarm.cores[victim].status().base != base, limit_s=200)
    assert said(swarm, victim, base, since=restarted) == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_founder_in_doubt_founds_with_the_others(count):
    swarm = CoreSwarm(count)
    for index in range(count):
        swarm.disks[index] = {"doubt": b"\1"} if index == 0 else {}
    swarm.start(*range(count))

    assert swarm.run(swarm.all_finished(2), limit_s=120)
    foundings = [m for i, m in swarm.sent if i == 0 and isinstance(m, Proposal | Vote) and m.mode == FOUNDING]
    assert bool(foundings) is (count == 1), "alone it has to, in the end"
    assert "doubt" not in held(swarm, 0)
