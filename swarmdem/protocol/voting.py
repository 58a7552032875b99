"""From a frozen set of digests to a certificate: propose, vote, certify, skip (docs/agreement.md).

Normal mode: rank (t mod n) of E leads term t; a term opens with the skips of more than n/2 of E or
a valid proposal for it, never by a peer's own timer (terms would drift apart). A leader whose skips
carry votes re-proposes the plan of the highest one.

Without a majority (provisional mode) and before the first certificate (founding) the candidates take
turns (`turns`). In the mode `bft` a plan is voted on in two phases, with locks between them (`locks`).
"""

from contextlib import suppress
from hashlib import blake2b

from swarmdem.errors import WireError
from swarmdem.identifiers import FrameId, Micros, PeerId, PlanId, Term
from swarmdem.protocol import ballots
from swarmdem.protocol.ballots import Ballots, Choice
from swarmdem.protocol.certificates import least_listed, quorum
from swarmdem.protocol.counting import counters
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, Equivocated, Persist, Publish, Reject, Report, Send
from swarmdem.protocol.locks import Locks, lock_of
from swarmdem.protocol.plans import make_plan
from swarmdem.protocol.proposals import Offered, Proposals, plan_refusal
from swarmdem.protocol.shortening import shorten_proposal
from swarmdem.protocol.situation import Situation
from swarmdem.protocol.turns import Turns
from swarmdem.wire import codec
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import (
    DIGESTS,
    NORMAL,
    PLANS,
    PREPARE,
    PROVISIONAL,
    Certificate,
    Plan,
    Proposal,
    Skip,
    Vote,
    Want,
)


class Voting:
    """The votes of one peer on one base."""

    def __init__(self, situation: Situation) -> None:
        self.s = situation
        self.ballots = Ballots()
        self.certificate: Certificate | None = None
        """Set once, when the votes suffice."""
        self.leader_of_certificate: PeerId | None = None
        self.term: Term = 0
        self.term_began: Micros = 0
        self.frozen_at: Micros | None = None
        self._ranked = rank(situation.base.electorate, situation.base.id) if situation.electors else ()
        self._needed = quorum(situation.charter, len(self._ranked))
        self.locks = Locks(situation, self.ballots)
        self.proposals = Proposals(situation, self._ranked, self.locks)
        self.turns = Turns(situation, self.proposals)
        self._proposed: dict[tuple[int, Term], Frame] = {}
        self.short: dict[FrameId, Frame | None] = {}
        """In what form this peer's proposals cross."""
        self._voted: dict[tuple[int, Term], Offered] = {}
        self._cast: dict[int, Frame] = {}
        self._skipped: dict[int, Frame] = {}
        self._recount = False
        self._two_phases = situation.charter.agreement == "bft"
        self._ask_proof_at: Micros = 0
        self._term_skipped: Term = -1
        """Highest term that more than half of E have skipped."""

    @property
    def majority_lost(self) -> bool:
        """Whether candidates take turns because no majority of E is there (or no E yet)."""
        return self.turns.since is not None

    # What others say

    def on_proposal(self, frame: Frame, now: Micros) -> list[Effect]:
        """Take a plan put to the vote; the vote itself follows in `advance`."""
        effects, offered = self.proposals.add(frame, now)
        if offered is not None:
            self._recount = True
            if offered.mode == NORMAL:
                self.freeze(now)
                if offered.term > self.term:
                    self._begin_term(offered.term, now)
        return effects

    def on_vote(self, frame: Frame, now: Micros) -> list[Effect]:
        """Count a vote; ask its sender for a plan we have not seen."""
        vote = frame.message
        assert isinstance(vote, Vote)
        by_electors = vote.mode in (NORMAL, PREPARE)
        if by_electors and frame.sender not in self.s.electors:
            return [Reject(frame.sender, "vote of a peer outside the electorate")]
        if vote.mode == PREPARE and not self._two_phases:
            return [Reject(frame.sender, "vote of a phase that this swarm does not have")]
        if not by_electors and not self._may_be_listed(frame.sender):
            return []  # said again every patience / 4, so counted once there is room
        other = self.ballots.add_vote(frame)
        self._recount = True
        if other is not None:
            return [Report(Equivocated(frame.sender, other, frame.id))]
        self.proposals.miss(frame.sender, vote.plan, now)
        return []

    def _may_be_listed(self, voter: PeerId) -> bool:
        """Return whether the vote of a peer that is no elector, and perhaps of no account, is kept."""
        known = voter in self.s.digests.current or self.ballots.knows(voter)
        return known or self.ballots.voters < len(self.s.electors) + self.s.charter.peers_max

    def on_skip(self, frame: Frame, now: Micros) -> list[Effect]:
        """Count a skip; ask its sender for the plan of the vote it carries."""
        skip = frame.message
        assert isinstance(skip, Skip)
        if frame.sender not in self.s.electors or skip.mode != NORMAL:
            return [Reject(frame.sender, "skip of a peer outside the electorate")]
        if self.ballots.add_skip(frame):
            self._count_skips()
            if skip.voted_term >= 0:
                self.proposals.miss(frame.sender, PlanId(skip.voted_plan), now)
        return []

    # What time and the inputs lead to

    def freeze(self, now: Micros) -> None:
        """Start the clocks of the terms; the set of digests stays open."""
        if self.frozen_at is None:
            self.frozen_at = self.term_began = now

    def skip_quorum(self) -> bool:
        """Return whether more than half of E have skipped some term."""
        return self._term_skipped >= 0

    def _count_skips(self) -> None:
        self._term_skipped = self.ballots.term_skipped_by(NORMAL, self.s.electors, self._needed)

    def advance(self, now: Micros) -> list[Effect]:
        """Do everything that is due: open terms, propose, vote, skip, certify."""
        effects = self.proposals.ask(now) if self.certificate is None else []
        if self.certificate is None and self.frozen_at is not None:
            opened = min(self._term_skipped + 1, ballots.TERM_MAX)
            if self._ranked and opened > self.term:
                self._begin_term(opened, now)
            if self._ranked and now >= self.s.silent_until:
                effects += self._propose_normal(now)
                effects += self._vote_normal(now)
                effects += self._skip(now)
            effects += self._take_turns(now)
        self._certify()
        return effects

    def _begin_term(self, term: Term, now: Micros) -> None:
        self.term, self.term_began = term, now

    def _propose_normal(self, now: Micros) -> list[Effect]:
        s, term = self.s, self.term
        leads = self.proposals.leader(term) == s.me
        if not leads or (NORMAL, term) in self._proposed or not s.clock.connected:
            return []
        if term <= self.ballots.skipped.get(NORMAL, -1):
            return []
        skips = self.ballots.skips(NORMAL, term - 1, s.electors) if term else ()
        if self._two_phases and term:
            skips, unproven = self.locks.opening(skips)
            if not skips:
                return self._ask_proofs(unproven, now)
        skips = tuple(sorted(skips, key=lambda f: -ballots.skip_of(f).voted_term)[: self._needed])
        voted = skips[0] if skips else None
        if voted is not None and ballots.skip_of(voted).voted_term >= 0:
            return self._repropose(voted, skips, now)
        listed = s.listable()
        held = sum(peer in s.electors for peer in listed)
        if held < least_listed(s.charter, len(s.electors)):
            return []
        if term == 0 and held < len(s.electors) and now < self.reconciled_at():
            return []
        return self._propose(
            make_plan(s.charter, s.base, NORMAL, listed, reference=s.base.reference), term, skips, now
        )

    def reconciled_at(self) -> Micros:
        """Return until when the first proposer waits for the summaries' answers."""
        return (self.frozen_at or 0) + self.s.patience // 8

    def _repropose(self, voted: Frame, skips: tuple[Frame, ...], now: Micros) -> list[Effect]:
        plan_id = PlanId(ballots.skip_of(voted).voted_plan)
        offered = self.proposals.plan(plan_id)
        if offered is not None:
            return self._propose(offered.plan, self.term, skips, now)
        self.proposals.miss(voted.sender, plan_id, now)
        return []

    def _ask_proofs(self, unproven: tuple[Frame, ...], now: Micros) -> list[Effect]:
        """Ask those who claim locks that nobody has proven here for the first votes behind them."""
        if now < self._ask_proof_at:
            return []
        self._ask_proof_at = now + self.s.patience // 8
        claims = [(skip.sender, PlanId(ballots.skip_of(skip).voted_plan)) for skip in unproven]
        seal = self.s.sealer.seal
        return [Send(peer, seal(Want(PLANS, (plan,)))) for peer, plan in claims if peer != self.s.me]

    def _propose(self, plan: Plan, term: Term, skips: tuple[Frame, ...], now: Micros) -> list[Effect]:
        attached = [frame.raw for frame in skips]
        if self._two_phases and skips:
            attached += self.locks.proof(lock_of(ballots.skip_of(skips[0])))
        proposal = Proposal(plan.mode, term, codec.encode_plan(plan), tuple(attached))
        frame = self.s.sealer.seal(proposal)
        self._proposed[plan.mode, term] = frame
        short = self.short[frame.id] = shorten_proposal(self.s, frame, plan)
        return [*self.on_proposal(frame, now), self._persist(), Publish(frame, short=short)]

    def _persist(self) -> Persist:
        frames = {f.id: f.raw for f in self._proposed.values()}
        for (mode, term), plan in self.ballots.cast.items():
            offered = self._voted.get((mode, term)) or self.proposals.plan(plan)
            if offered is not None:
                frames[offered.frame.id] = offered.frame.raw
        key = "founding" if self.s.base.founding else "ballots"
        raws = (frames[i] for i in sorted(frames))
        return Persist(key, self.ballots.record(self.s.base.id, raws, self.locks.own()))

    def _vote_normal(self, now: Micros) -> list[Effect]:
        if self.s.me not in self.s.electors:
            return []
        offered = self.proposals.of_leader(self.term)
        effects: list[Effect] = []
        if offered is not None and self.ballots.may_vote(self._first_phase, self.term):
            effects += self._vote(offered, now)
        due = self.locks.due() if self._two_phases else None
        locked = self.proposals.plan(due.plan) if due is not None else None
        if due is not None and locked is not None:
            effects += self._cast_vote(locked, NORMAL, due.term)
        return effects

    @property
    def _first_phase(self) -> int:
        """The mode of the vote that follows a normal proposal."""
        return PREPARE if self._two_phases else NORMAL

    def _vote(self, offered: Offered, now: Micros) -> list[Effect]:
        """Vote if all listed digests are held and the plan follows from them; else ask for them."""
        s, plan = self.s, offered.plan
        ids = {e.peer: FrameId(e.digest) for e in plan.entries if e.listed}
        missing = tuple(i for _, i in sorted(ids.items()) if i not in s.digests.by_id)
        if missing:
            if now < offered.ask_at:
                return []
            offered.ask_at = now + s.patience // 8
            return [Send(offered.frame.sender, s.sealer.seal(Want(DIGESTS, missing)))]
        listed = {peer: s.digests.by_id[i] for peer, i in ids.items()}
        if refusal := plan_refusal(s, plan, listed):
            self.proposals.withdraw(offered)
            return [Reject(offered.frame.sender, refusal)]
        mode = self._first_phase if offered.mode == NORMAL else offered.mode
        return self._cast_vote(offered, mode, offered.term)

    def _cast_vote(self, offered: Offered, mode: int, term: Term) -> list[Effect]:
        s = self.s
        frame = s.sealer.seal(Vote(s.base.id, mode, term, offered.id))
        self.ballots.cast[mode, term] = offered.id
        self._voted[mode, term] = offered
        self._recount = True
        self.ballots.add_vote(frame)
        self._cast[mode] = frame
        counting = counters(s, self._ranked, offered, mode, term)
        if not counting:
            return [self._persist(), Publish(frame)]
        return [self._persist(), *(Send(peer, frame) for peer in counting if peer != s.me)]

    def _skip(self, now: Micros) -> list[Effect]:
        s = self.s
        due = s.me in s.electors and s.clock.connected and now >= self._term_ends()
        if not due or self.ballots.skipped.get(NORMAL, -1) >= self.term or self.term >= ballots.TERM_MAX:
            return []
        voted = self.ballots.highest_cast(NORMAL)
        voted_term, voted_plan = voted if voted is not None else (-1, b"")
        frame = s.sealer.seal(Skip(s.base.id, NORMAL, self.term, voted_term, voted_plan))
        self.ballots.skipped[NORMAL] = self.term
        self.ballots.add_skip(frame)
        self._count_skips()
        self._skipped[NORMAL] = frame
        return [self._persist(), Publish(frame)]

    def _term_ends(self) -> Micros:
        """Return when this peer gives up on the term: at once when its leader is taken for gone."""
        return self.s.suspicion.turn_ends(self.term_began, self.proposals.awaited(self.term))

    def _take_turns(self, now: Micros) -> list[Effect]:
        """Do what the turn of a provisional or founding candidate asks for."""
        assert self.frozen_at is not None
        turn = self.turns.turn(self.frozen_at, now)
        if turn is None:
            return []
        effects: list[Effect] = []
        leads = self.turns.opens(turn, now)
        if now < self.s.silent_until:
            return []
        if leads and (stood := self.turns.candidature(self.ballots, turn, now)):
            effects += self._propose(*stood, (), now)
        choice = self.turns.choice(self.ballots)
        return effects + (self._vote(choice, now) if choice is not None else [])

    # Certificates

    def _certify(self) -> None:
        """Set `certificate` when one choice has the votes it needs."""
        if not self._recount:
            return
        self._recount = False
        for choice in self.ballots.choices():
            offered = self.proposals.plan(choice.plan)
            if offered is None or offered.mode != choice.mode or self.certificate is not None:
                continue
            if choice.plan in self.s.barred:
                continue
            normal = choice.mode == NORMAL
            if choice.mode == PROVISIONAL and not self._follows(choice):
                continue
            voters = self.s.electors if normal else offered.listed
            if self.ballots.counted(choice) < quorum(self.s.charter, len(voters)):
                continue  # after each of a thousand votes
            votes = self.ballots.votes(choice, voters)
            if len(votes) >= quorum(self.s.charter, len(voters)):
                self.certificate = Certificate(offered.body, choice.term, tuple(votes.values()))
                self.leader_of_certificate = offered.frame.sender

    def _follows(self, choice: Choice) -> bool:
        """Return whether a provisional plan is for this peer: it voted for it, or found no majority."""
        return self.majority_lost or self.ballots.cast.get((choice.mode, choice.term)) == choice.plan

    # Repeats, restarts, timers

    @property
    def repeats(self) -> bool:
        """Return whether `standing` has anything."""
        return bool(self._cast or self._skipped or self._proposed)

    def standing(self) -> list[Frame]:
        """Return what must be repeated byte for byte until a new certificate stands."""
        proposed = [
            f for (mode, term), f in sorted(self._proposed.items()) if mode != NORMAL or term == self.term
        ]
        return [*proposed[-2:], *(f for _, f in sorted(self._cast.items())), *self._skipped.values()]

    def restore(self, record: ballots.BallotRecord, now: Micros) -> None:
        """Take back the votes, skips and proposals made on this base before a restart."""
        self.ballots.restore(record)
        for raw in record.proposals:
            try:
                frame = self.s.sealer.open(raw)
            except WireError:
                continue
            if isinstance(frame.message, Proposal):
                self.on_proposal(frame, now)
                if frame.sender == self.s.me:
                    self._proposed[frame.message.mode, frame.message.term] = frame
        for raw in record.locks:
            with suppress(WireError):
                self.ballots.add_vote(self.s.sealer.open(raw))
        for mode in {mode for mode, _ in self.ballots.cast}:
            term, plan = self.ballots.highest_cast(mode) or (0, PlanId(b""))
            if plan in self.s.barred:
                continue
            self._cast[mode] = self.s.sealer.seal(Vote(self.s.base.id, mode, term, plan))
            self.ballots.add_vote(self._cast[mode])
        for mode, term in self.ballots.skipped.items():
            voted_term, voted_plan = self.ballots.highest_cast(mode, term) or (-1, PlanId(b""))
            self._skipped[mode] = self.s.sealer.seal(Skip(self.s.base.id, mode, term, voted_term, voted_plan))
            self.ballots.add_skip(self._skipped[mode])
            self._count_skips()

    def deadlines(self, now: Micros) -> list[Micros]:
        """Return the connected times at which `advance` has something to do."""
        if self.certificate is not None:
            return []
        if self.frozen_at is None:
            return [at for at in self.proposals.deadlines() if at > now]
        due = [self.s.silent_until, self.reconciled_at(), *([self._term_ends()] if self._ranked else [])]
        due += self.turns.deadlines(self.frozen_at) + self.proposals.deadlines()
        return [at for at in due if at > now]


def spread(me: PeerId, about: bytes, limit: Micros) -> Micros:
    """Return a wait below *limit* that differs from peer to peer but needs no chance."""
    draw = int.from_bytes(blake2b(me + about, digest_size=8, person=b"sd/wait").digest(), "big")
    return draw % max(1, limit)
