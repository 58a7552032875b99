"""Votes and skips: counted once, final for their term, remembered over a restart."""

from swarmdem.identifiers import PlanId
from swarmdem.protocol.ballots import Ballots, Choice, read_record
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import NORMAL, Skip, Vote

BASE = b"b" * 32
PLAN, OTHER = PlanId(b"p" * 32), PlanId(b"q" * 32)
CHARTER = Charter(swarm="test")


def sealer(index: int) -> FrameSealer:
    return FrameSealer(PretendedIdentity(index), CHARTER, 1, PretendedVerifier())


def vote(index: int, term: int = 0, plan: PlanId = PLAN):
    return sealer(index).seal(Vote(BASE, NORMAL, term, plan))


def skip(index: int, term: int, voted_term: int = -1, plan: bytes = b""):
    return sealer(index).seal(Skip(BASE, NORMAL, term, voted_term, plan))


def peers(*indices: int) -> set:
    return {PretendedIdentity(i).peer for i in indices}


def test_a_vote_counts_once_however_often_it_comes():
    ballots = Ballots()
    for _ in range(3):
        assert ballots.add_vote(vote(1)) is None

    assert list(ballots.votes(Choice(NORMAL, 0, PLAN), peers(1, 2))) == sorted(peers(1))


def test_votes_of_others_than_the_voters_asked_for_do_not_count():
    ballots = Ballots()
    ballots.add_vote(vote(1))
    ballots.add_vote(vote(2))

    assert set(ballots.votes(Choice(NORMAL, 0, PLAN), peers(2, 3))) == peers(2)


def test_a_second_vote_in_one_term_is_told_and_not_counted():
    ballots = Ballots()
    first = vote(1)
    ballots.add_vote(first)

    assert ballots.add_vote(vote(1, plan=OTHER)) == first.id
    assert ballots.votes(Choice(NORMAL, 0, OTHER), peers(1)) == {}


def test_the_term_skipped_needs_as_many_as_asked_and_higher_skips_cover_lower_terms():
    ballots = Ballots()
    for index, term in ((1, 0), (2, 3), (3, 1)):
        assert ballots.add_skip(skip(index, term))

    assert ballots.term_skipped_by(NORMAL, peers(1, 2, 3), 3) == 0
    assert ballots.term_skipped_by(NORMAL, peers(1, 2, 3), 2) == 1
    assert ballots.term_skipped_by(NORMAL, peers(1, 2, 3), 4) == -1
    assert ballots.term_skipped_by(NORMAL, peers(1), 1) == 0


def test_a_lower_skip_of_the_same_peer_changes_nothing():
    ballots = Ballots()
    ballots.add_skip(skip(1, 5))

    assert not ballots.add_skip(skip(1, 4))
    assert ballots.term_skipped_by(NORMAL, peers(1), 1) == 5


def test_nobody_votes_twice_in_a_term_nor_below_a_term_it_skipped_or_voted_in():
    ballots = Ballots()
    assert ballots.may_vote(NORMAL, 0)

    ballots.cast[NORMAL, 1] = PLAN

    assert not ballots.may_vote(NORMAL, 1)
    assert not ballots.may_vote(NORMAL, 0)
    assert ballots.may_vote(NORMAL, 2)

    ballots.skipped[NORMAL] = 2

    assert not ballots.may_vote(NORMAL, 2)
    assert ballots.may_vote(NORMAL, 3)


def test_what_was_said_comes_back_from_the_record():
    ballots = Ballots()
    ballots.cast[NORMAL, 1] = PLAN
    ballots.skipped[NORMAL] = 2

    record = read_record(ballots.record(BASE, [b"frame"]))
    again = Ballots()
    again.restore(record)

    assert (record.base, record.proposals) == (BASE, (b"frame",))
    assert again.cast == {(NORMAL, 1): PLAN}
    assert again.skipped == {NORMAL: 2}
    assert again.highest_cast(NORMAL) == (1, PLAN)
    assert again.highest_cast(NORMAL, 0) is None


def test_a_damaged_record_counts_as_absent():
    assert read_record(b"\xc1nonsense") is None


def test_votes_of_one_peer_are_bounded():
    ballots = Ballots()
    for term in range(100):
        ballots.add_vote(vote(1, term=term))

    assert len(ballots._of_one[PretendedIdentity(1).peer]) == 16
