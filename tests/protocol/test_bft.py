"""The mode `bft`: two phases, locks that outlive terms and restarts, and liars that split nobody."""

import pytest

from swarmdem.protocol import events
from swarmdem.protocol.ballots import Ballots, Choice, read_record
from swarmdem.protocol.clock import ConnectedClock
from swarmdem.protocol.election import rank
from swarmdem.protocol.locks import Locks
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base, make_plan
from swarmdem.protocol.situation import Situation
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer, decode_plan, encode_plan
from swarmdem.wire.messages import (
    FOUNDING,
    NORMAL,
    PREPARE,
    PROVISIONAL,
    Certificate,
    Proposal,
    Skip,
    Vote,
)
from tests.protocol.core_swarm import CoreSwarm

BASE = b"b" * 32
PLAN, OTHER = b"p" * 32, b"q" * 32
CHARTER = Charter(swarm="test", agreement="bft")


def running(count: int, rounds: int = 1) -> CoreSwarm:
    swarm = CoreSwarm(count, agreement="bft")
    swarm.start(*range(count))
    assert swarm.run(swarm.all_finished(rounds))
    return swarm


def votes(swarm: CoreSwarm, base: bytes, mode: int) -> list[tuple[int, Vote]]:
    found = [(i, m) for i, m in swarm.sent if isinstance(m, Vote)]
    return [(i, m) for i, m in found if (m.base, m.mode) == (base, mode)]


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_honest_peers_certify_every_round(count):
    swarm = running(count, rounds=3)

    for number in (1, 2, 3):
        finished = swarm.finished(number)
        assert len({e.plan for e in finished.values()}) == 1
        assert all(e.applied and e.certified for e in finished.values())
    told = [m for _, m in swarm.sent if isinstance(m, Certificate)]
    normal = next(m for m in told if decode_plan(m.plan).mode == NORMAL)
    assert len(normal.votes) >= 2 * count // 3 + 1
    assert swarm.rejects == []


def test_each_votes_in_the_second_phase_after_the_first():
    swarm = running(4)

    for index in range(4):
        mine = [m.mode for i, m in swarm.sent if i == index and isinstance(m, Vote) and m.mode != FOUNDING]
        assert mine[:2] == [PREPARE, NORMAL]


def test_a_third_that_is_away_does_not_stop_it_but_more_does_until_they_are_back():
    swarm = running(7)
    for index in (5, 6):
        swarm.kill(index)
    assert swarm.run(swarm.all_finished(3))
    assert len(swarm.cores[0].round_record().base.electorate) == 5

    for index in (3, 4):
        swarm.kill(index)
    swarm.run(lambda: False, limit_s=20)
    stood = swarm.bases()
    swarm.run(lambda: False, limit_s=100)
    assert swarm.bases() == stood
    assert not [e for _, e in swarm.of(events.Certified) if e.mode == PROVISIONAL]

    swarm.start(3, 4, 5, 6)
    reached = swarm.cores[0].status().round
    assert swarm.run(lambda: len(swarm.finished(reached + 3)) == 7)
    assert len({e.plan for e in swarm.finished(reached + 3).values()}) == 1


def test_a_lock_is_carried_over_the_terms_when_second_votes_are_lost():
    """In term 0 all lock, but nobody hears a second vote; term 1 certifies the same plan."""
    swarm = running(4)
    base = swarm.cores[0].status().base
    swarm.lose = lambda frame, receiver: (
        isinstance(frame.message, Vote)
        and (frame.message.base, frame.message.mode, frame.message.term) == (base, NORMAL, 0)
        and receiver != swarm.index(frame.sender)
    )
    assert swarm.run(swarm.all_finished(2))

    [plan] = {e.plan for e in swarm.finished(2).values()}
    assert {m.plan for mode in (PREPARE, NORMAL) for _, m in votes(swarm, base, mode)} == {plan}
    assert {e.term for _, e in swarm.of(events.Certified) if e.round == 2} == {1}
    again = [m for _, m in swarm.sent if isinstance(m, Proposal) and m.term == 1]
    assert again
    assert all(len(m.skips) == 6 for m in again), "three skips and the three first votes behind the lock"


def test_peers_that_all_restart_locked_still_prove_their_lock():
    swarm = running(4)
    base = swarm.cores[0].status().base
    swarm.lose = lambda frame, receiver: isinstance(frame.message, Vote) and frame.message.mode == NORMAL
    assert swarm.run(lambda: {i for i, _ in votes(swarm, base, NORMAL)} == {0, 1, 2, 3})
    [plan] = {m.plan for _, m in votes(swarm, base, NORMAL)}
    for index in range(4):
        swarm.kill(index)
    swarm.lose = lambda frame, receiver: isinstance(frame.message, Vote) and frame.message.term == 0
    swarm.start(*range(4))

    assert swarm.run(swarm.all_finished(2))
    assert {e.plan for e in swarm.finished(2).values()} == {plan}


def test_a_proposer_that_tells_two_halves_two_plans_gets_no_certificate_for_either():
    swarm = running(4)
    base, perform, told = swarm.cores[0].status().base, swarm._perform, []
    liar = swarm.index(rank([swarm.peer(i) for i in range(4)], base)[0])

    def two_faced(index, effect):
        message = effect.frame.message if isinstance(effect, events.Publish) else None
        if index == liar and isinstance(message, Proposal) and message.mode == NORMAL and not told:
            told.append(effect.frame)
            swarm.deliver(effect.frame, liar, (liar + 1) % 4)
            swarm.deliver(twin(swarm, liar), (liar + 2) % 4, (liar + 3) % 4)
            return
        perform(index, effect)

    swarm._perform = two_faced
    assert swarm.run(swarm.all_finished(2))

    children = {(e.plan, e.term) for _, e in swarm.of(events.Certified) if e.base == base}
    assert len(children) == 1
    assert {term for _, term in children} == {1}


def twin(swarm: CoreSwarm, liar: int):
    """Another valid proposal of term 0: one listed peer fewer."""
    core = swarm.cores[liar]
    situation = core._round.s
    listed = dict(situation.digests.current)
    listed.pop(max(listed))
    plan = make_plan(swarm.charter, situation.base, NORMAL, listed, reference=situation.base.reference)
    return core._sealer.seal(Proposal(NORMAL, 0, encode_plan(plan), ()))


def test_a_swarm_without_two_phases_refuses_first_votes():
    swarm = CoreSwarm(3)
    swarm.start(0, 1, 2)
    assert swarm.run(swarm.all_finished(1))
    other = FrameSealer(PretendedIdentity(1), swarm.charter, 1, PretendedVerifier())
    swarm.give(0, events.Received(other.seal(Vote(swarm.cores[0].status().base, PREPARE, 0, PLAN))))

    assert swarm.rejects[-1] == (0, "vote of a phase that this swarm does not have")


# The locks by themselves: seven electors, five decide


def sealer(index: int) -> FrameSealer:
    return FrameSealer(PretendedIdentity(index), CHARTER, 1, PretendedVerifier())


def prepare(index: int, term: int, plan: bytes = PLAN):
    return sealer(index).seal(Vote(BASE, PREPARE, term, plan))


def skip(index: int, term: int, lock: tuple[int, bytes] = (-1, b"")):
    return sealer(index).seal(Skip(BASE, NORMAL, term, *lock))


@pytest.fixture
def ballots() -> Ballots:
    return Ballots()


@pytest.fixture
def locks(ballots) -> Locks:
    peers = tuple(sorted(PretendedIdentity(index).peer for index in range(7)))
    base = Base(BASE, None, None, peers, 3, (), 0, 0, b"r" * 32, None)
    me = PretendedIdentity(0).peer
    return Locks(Situation(me, CHARTER, sealer(0), Membership(8, 9), ConnectedClock(8), base), ballots)


def test_a_plan_is_prepared_by_five_of_seven_and_then_due_for_the_second_vote(ballots, locks):
    for index in range(4):
        ballots.add_vote(prepare(index, 0))
    ballots.add_vote(prepare(9, 0))
    assert locks.due() is None, "a stranger's vote does not count"

    ballots.add_vote(prepare(4, 0))
    assert locks.due() == Choice(NORMAL, 0, PLAN)

    ballots.skipped[NORMAL] = 0
    assert locks.due() is None, "nobody votes in a term it has skipped"


def test_a_lock_nobody_proves_is_passed_over_with_its_skip(locks):
    liar = skip(6, 2, (2, OTHER))
    honest = [skip(index, 2) for index in range(5)]

    attached, unproven = locks.opening([*honest, liar])
    assert set(attached) == set(honest)
    assert unproven == (liar,)

    assert locks.opening([*honest[:4], liar]) == ((), (liar,))


def test_the_highest_proven_lock_is_gone_on_from(ballots, locks):
    for index in range(5):
        ballots.add_vote(prepare(index, 1))
    skips = [skip(0, 2, (1, PLAN)), *(skip(index, 2) for index in range(1, 5))]

    attached, unproven = locks.opening(skips)

    assert attached[0] == skips[0]
    assert unproven == ()
    assert len(locks.proof((1, PLAN))) == 5


def test_voters_want_the_highest_lock_proposed_and_proven(locks):
    claims = [skip(0, 2, (1, PLAN)), *(skip(index, 2) for index in range(1, 5))]
    skips = [frame.message for frame in claims]
    proof = [prepare(index, 1) for index in range(2, 7)]

    assert locks.justify(skips, proof, PLAN)
    assert not locks.justify(skips, proof, OTHER)
    assert not locks.justify(skips, proof[:4], PLAN)
    assert not locks.justify(skips, [*proof[:4], proof[0]], PLAN)
    assert not locks.justify(skips, [*proof[:4], prepare(9, 1)], PLAN)
    assert not locks.justify(skips, [*proof[:4], prepare(6, 0)], PLAN)
    assert locks.justify(skips[1:], [], OTHER), "no lock among them: any plan will do"


def test_two_locks_of_one_term_justify_nothing(locks):
    skips = [skip(0, 2, (1, PLAN)).message, skip(1, 2, (1, OTHER)).message]
    proof = [prepare(index, 1, plan) for plan in (PLAN, OTHER) for index in range(5)]

    assert not locks.justify(skips, proof, PLAN)
    assert not locks.justify(skips, proof, OTHER)


def test_the_proof_of_a_lock_is_in_the_record(ballots):
    frames = [prepare(index, 0) for index in range(5)]
    record = read_record(ballots.record(BASE, [], (frame.raw for frame in frames)))

    assert record is not None
    assert record.locks == tuple(frame.raw for frame in frames)
