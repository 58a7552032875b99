"""Two phases and the locks between them: what the mode `bft` adds to the votes of one base.

    PREPARE(term, plan)   the first vote, under the rules of every vote
    VOTE(term, plan)      the second, once more than two thirds have prepared: its voter is *locked*
    CERT                  more than two thirds of second votes
    SKIP(term, lock)      carries its sender's highest second vote; a leader who goes on from skips
                          re-proposes the highest lock among them, proven by the first votes behind it

Two sets of more than two thirds have more than a third in common, so with less than a third of liars at
least one honest peer. One plan a term can be prepared; whoever is to certify another plan in a later term
needs skips of more than two thirds, among them one of an honest peer that is locked, and cannot hide it.
A lock that its claimant does not prove is passed over, with the skip that claims it: the skips of the
honest are enough. (PBFT, Castro and Liskov 1999, on one height; the votes travel as in Tendermint,
arXiv 1807.04938.) Progress needs more than two thirds who hear each other in time.
"""

from collections.abc import Iterable

from swarmdem.identifiers import PeerId, PlanId, Term
from swarmdem.protocol.ballots import Ballots, Choice, skip_of
from swarmdem.protocol.certificates import quorum
from swarmdem.protocol.situation import Situation
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import NORMAL, PREPARE, Skip, Vote

Lock = tuple[Term, bytes]
"""Term and plan of a second vote; term -1 stands for none."""


class Locks:
    """What has been prepared on one base, as far as seen here."""

    def __init__(self, situation: Situation, ballots: Ballots) -> None:
        self.s = situation
        self._ballots = ballots
        self._needed = quorum(situation.charter, len(situation.electors))

    def prepared(self, lock: Lock) -> bool:
        """Return whether more than two thirds were seen to prepare *lock*."""
        return len(self.proof(lock)) >= self._needed

    def proof(self, lock: Lock) -> tuple[bytes, ...]:
        """Return the frames of the first votes on which *lock* rests, no more than needed."""
        choice = Choice(PREPARE, lock[0], PlanId(lock[1]))
        return self._ballots.prepares(choice, self.s.electors)[: self._needed]

    def seen(self, plan: PlanId) -> tuple[bytes, ...]:
        """Return the frames of the first votes for *plan* that others may lack, of its highest term."""
        terms = [c.term for c in self._ballots.choices() if c.mode == PREPARE and c.plan == plan]
        return self.proof((max(terms), plan)) if terms else ()

    def due(self) -> Choice | None:
        """Return the second vote that this peer must cast now, if any."""
        if self.s.me not in self.s.electors:
            return None
        for choice in self._ballots.choices():
            ready = choice.mode == PREPARE and self._ballots.may_vote(NORMAL, choice.term)
            if ready and self.prepared((choice.term, choice.plan)):
                return Choice(NORMAL, choice.term, choice.plan)
        return None

    def own(self) -> tuple[bytes, ...]:
        """Return the proof of this peer's own highest lock."""
        cast = self._ballots.highest_cast(NORMAL)
        return self.proof(cast) if cast is not None else ()

    def opening(self, skips: Iterable[Frame]) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
        """Return which of *skips* to attach to a proposal, and which claim locks not proven here.

        Returns:
            Enough of those without an unproven lock, the highest proven one first, or none when they do
            not suffice; and the others.
        """
        claimed = sorted(skips, key=lambda frame: (-skip_of(frame).voted_term, frame.sender))
        locks = (lock_of(skip_of(frame)) for frame in claimed)
        highest: Lock = next((lock for lock in locks if lock[0] >= 0 and self.prepared(lock)), (-1, b""))
        usable = tuple(frame for frame in claimed if _fits(lock_of(skip_of(frame)), highest))
        unproven = tuple(frame for frame in claimed if not _fits(lock_of(skip_of(frame)), highest))
        return usable[: self._needed] if len(usable) >= self._needed else (), unproven

    def justify(self, skips: Iterable[Skip], attached: Iterable[Frame], plan: PlanId) -> bool:
        """Return whether *skips*, enough to open a term, and the first votes *attached* allow *plan*."""
        claimed = [lock_of(skip) for skip in skips]
        highest = max(claimed, default=(-1, b""))
        if highest[0] < 0:
            return True
        proving: set[PeerId] = set()
        for frame in attached:
            vote = frame.message
            wanted = (self.s.base.id, PREPARE, *highest)
            if isinstance(vote, Vote) and (vote.base, vote.mode, vote.term, vote.plan) == wanted:
                proving.add(frame.sender)
        unique = all(_fits(lock, highest) for lock in claimed)
        return unique and highest[1] == plan and len(proving & self.s.electors) >= self._needed


def lock_of(skip: Skip) -> Lock:
    """Return the lock that *skip* claims."""
    return skip.voted_term, skip.voted_plan


def _fits(lock: Lock, highest: Lock) -> bool:
    return lock[0] < highest[0] or lock == highest
