"""Counting votes and skips on one base. Knows no plans, no timers, no peers' reasons.

A vote is final for its (mode, term); a skip covers its term and all below. What this peer said is
kept as a record for the disk, because saying otherwise after a restart would be a double vote.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from swarmdem.identifiers import FrameId, PeerId, PlanId, Term
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import NORMAL, PREPARE, SignedVote, Skip, Vote

TERM_MAX = 0xFFFF
"""Highest term there is."""
VOTES_OF_ONE_MAX = 16
"""Different votes of one peer kept per base; an honest peer casts one per term."""


class Choice(NamedTuple):
    """What is voted on."""

    mode: int
    term: Term
    plan: PlanId


class BallotRecord(msgspec.Struct, frozen=True, array_like=True):
    """What must not be forgotten over a restart."""

    base: bytes
    votes: tuple[tuple[int, int, bytes], ...]
    skipped: tuple[tuple[int, int], ...]
    proposals: tuple[bytes, ...]
    """Frames of own proposals and of the proposals voted for."""
    locks: tuple[bytes, ...] = ()
    """Frames of the first-phase votes on which the highest vote of the second phase rests."""


class Ballots:
    """Votes and skips seen and cast on one base."""

    def __init__(self) -> None:
        self.cast: dict[tuple[int, Term], PlanId] = {}
        self.skipped: dict[int, Term] = {}
        self._votes: dict[Choice, dict[PeerId, SignedVote]] = {}
        self._of_one: dict[PeerId, dict[tuple[int, Term], tuple[PlanId, FrameId]]] = {}
        self._skips: dict[int, dict[PeerId, Frame]] = {}
        self._prepares: dict[Choice, dict[PeerId, bytes]] = {}

    def add_vote(self, frame: Frame) -> FrameId | None:
        """Count a vote; return the sender's other vote of the same term if there is one."""
        vote = frame.message
        assert isinstance(vote, Vote)
        of_one = self._of_one.setdefault(frame.sender, {})
        earlier = of_one.get((vote.mode, vote.term))
        if earlier is not None:
            return earlier[1] if earlier[0] != vote.plan else None
        if len(of_one) >= VOTES_OF_ONE_MAX:
            self._forget(frame.sender, min(of_one, key=lambda which: (which[1], which[0])))
        of_one[vote.mode, vote.term] = (vote.plan, frame.id)
        choice = Choice(vote.mode, vote.term, vote.plan)
        self._votes.setdefault(choice, {})[frame.sender] = SignedVote(frame.public_key, frame.signature)
        if vote.mode == PREPARE:
            self._prepares.setdefault(choice, {})[frame.sender] = frame.raw
        return None

    def _forget(self, peer: PeerId, which: tuple[int, Term]) -> None:
        plan, _ = self._of_one[peer].pop(which)
        choice = Choice(*which, plan)
        del self._votes[choice][peer]
        self._prepares.get(choice, {}).pop(peer, None)
        if not self._votes[choice]:
            del self._votes[choice]
            self._prepares.pop(choice, None)

    def knows(self, peer: PeerId) -> bool:
        """Return whether *peer* voted."""
        return peer in self._of_one

    @property
    def voters(self) -> int:
        """How many peers voted."""
        return len(self._of_one)

    def counted(self, choice: Choice) -> int:
        """Return how many peers, whoever they are, voted for *choice*."""
        return len(self._votes.get(choice, ()))

    def votes(self, choice: Choice, voters: Collection[PeerId]) -> dict[PeerId, SignedVote]:
        """Return the votes of *voters* for *choice*, sorted by voter."""
        votes = self._votes.get(choice, {})
        return {peer: votes[peer] for peer in sorted(votes) if peer in voters}

    def prepares(self, choice: Choice, voters: Collection[PeerId]) -> tuple[bytes, ...]:
        """Return the frames of the first-phase votes of *voters* for *choice*, sorted by voter."""
        frames = self._prepares.get(choice, {})
        return tuple(frames[peer] for peer in sorted(frames) if peer in voters)

    def choices(self) -> Iterable[Choice]:
        """Return everything that has a vote, in a stable order."""
        return sorted(self._votes)

    def add_skip(self, frame: Frame) -> bool:
        """Count a skip; return False when the sender already skipped as high."""
        skip = frame.message
        assert isinstance(skip, Skip)
        skips = self._skips.setdefault(skip.mode, {})
        earlier = skips.get(frame.sender)
        if earlier is not None and skip_of(earlier).term >= skip.term:
            return False
        skips[frame.sender] = frame
        return True

    def skips(self, mode: int, at_least: Term, electors: Collection[PeerId]) -> tuple[Frame, ...]:
        """Return the skips of *electors* that cover term *at_least*, sorted by sender."""
        skips = self._skips.get(mode, {})
        return tuple(
            skips[peer]
            for peer in sorted(skips)
            if peer in electors and skip_of(skips[peer]).term >= at_least
        )

    def term_skipped_by(self, mode: int, electors: Collection[PeerId], needed: int) -> Term:
        """Return the highest term that *needed* electors have skipped; -1 when none."""
        terms = sorted((skip_of(f).term for f in self.skips(mode, 0, electors)), reverse=True)
        return terms[needed - 1] if len(terms) >= needed else -1

    def highest_cast(self, mode: int, up_to: Term = TERM_MAX) -> tuple[Term, PlanId] | None:
        """Return this peer's own highest vote in *mode*, among terms *up_to*."""
        terms = [term for m, term in self.cast if m == mode and term <= up_to]
        return (max(terms), self.cast[mode, max(terms)]) if terms else None

    def highest_term(self, mode: int, voters: Iterable[PeerId]) -> Term:
        """Return the highest term one of *voters* voted in; -1 when none."""
        terms = (term for peer in voters for m, term in self._of_one.get(peer, ()) if m == mode)
        return max(terms, default=-1)

    def may_vote(self, mode: int, term: Term) -> bool:
        """Return whether a vote in (mode, term) would be this peer's first and above its skips."""
        highest = self.highest_cast(mode)
        above_skips = term > self.skipped.get(NORMAL if mode == PREPARE else mode, -1)
        return above_skips and (mode, term) not in self.cast and (highest is None or term > highest[0])

    def record(self, base: bytes, proposals: Iterable[bytes], locks: Iterable[bytes] = ()) -> bytes:
        """Return what must be on disk before a vote or skip leaves."""
        votes = tuple((mode, term, plan) for (mode, term), plan in sorted(self.cast.items()))
        skipped = tuple(sorted(self.skipped.items()))
        record = BallotRecord(base, votes, skipped, tuple(proposals), tuple(locks))
        return msgspec.msgpack.encode(record)

    def restore(self, record: BallotRecord) -> None:
        """Take back what was said before a restart."""
        self.cast = {(mode, term): PlanId(plan) for mode, term, plan in record.votes}
        self.skipped = dict(record.skipped)


def skip_of(frame: Frame) -> Skip:
    """Return the skip in *frame*."""
    assert isinstance(frame.message, Skip)
    return frame.message


def read_record(value: bytes) -> BallotRecord | None:
    """Return a stored record, or None when it is not one."""
    try:
        return msgspec.msgpack.decode(value, type=BallotRecord)
    except msgspec.MsgspecError:
        return None
