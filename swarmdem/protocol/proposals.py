"""Proposals of one base: which may be voted on, and the plans that others name but we have not seen."""

from collections.abc import Mapping
from dataclasses import dataclass

from swarmdem.errors import WireError
from swarmdem.identifiers import Micros, PeerId, PlanId, Term
from swarmdem.protocol.cells.entries import counted_twice
from swarmdem.protocol.certificates import least_listed, names_electors, quorum
from swarmdem.protocol.events import Effect, Equivocated, Reject, Report, Send
from swarmdem.protocol.locks import Locks
from swarmdem.protocol.plans import digest_of, make_plan
from swarmdem.protocol.recent import Recent
from swarmdem.protocol.situation import Situation
from swarmdem.protocol.state import read_state, state_refusal
from swarmdem.wire import codec
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import FOUNDING, NORMAL, PLANS, PROVISIONAL, Plan, Proposal, Skip, Want

GRACE = 32
"""What is missing is asked for after patience / GRACE: mostly it is on its way already."""
PROPOSALS_MAX = 64
"""Proposals kept per base, and plans asked for at once."""
UNKNOWN_OF_ONE_MAX = 4
"""Plans asked of one peer at once: it votes in two modes and skips, so it names no more."""
_listed: Recent[Plan, frozenset[PeerId]] = Recent()


@dataclass(slots=True)
class Offered:
    """A proposal as it came in."""

    frame: Frame
    mode: int
    term: Term
    id: PlanId
    plan: Plan
    body: bytes
    ask_at: Micros
    """When missing digests are asked for: they may be on their way just now."""

    @property
    def listed(self) -> frozenset[PeerId]:
        """The peers that the plan lists."""
        entries = self.plan.entries
        return _listed.get(
            self.plan, lambda: frozenset(e.peer for e in entries if e.listed), about=self.plan.base
        )


class Proposals:
    """The valid proposals seen on one base."""

    def __init__(self, situation: Situation, ranked: tuple[PeerId, ...], locks: Locks) -> None:
        """Begin with none.

        Args:
            situation: The base.
            ranked: Its electorate in the order in which terms are led.
            locks: Those of the mode `bft`.
        """
        self._locks = locks
        self.s = situation
        self._ranked = ranked
        self._offered: dict[tuple[int, Term, PeerId], Offered] = {}
        self._plans: dict[PlanId, Offered] = {}
        self._unknown: dict[PlanId, tuple[PeerId, Micros]] = {}
        self._grace = situation.patience // GRACE

    def leader(self, term: Term) -> PeerId:
        """Return who leads *term* in normal mode."""
        return self._ranked[term % len(self._ranked)]

    def add(self, frame: Frame, now: Micros) -> tuple[list[Effect], Offered | None]:
        """Keep a proposal; return it when it is new and valid."""
        proposal = frame.message
        assert isinstance(proposal, Proposal)
        key = (proposal.mode, proposal.term, frame.sender)
        known = self._offered.get(key)
        if known is not None:
            if known.body == proposal.plan:
                return [], None
            if codec.plan_id(proposal.plan) in self._unknown:  # others voted for it: they may certify it
                _, plan = self._refusal(frame.sender, proposal)
                if plan is not None:
                    self._keep(frame, proposal, plan, now)
            return [Report(Equivocated(frame.sender, known.frame.id, frame.id))], None
        refusal, plan = self._refusal(frame.sender, proposal)
        if plan is None:
            return [Reject(frame.sender, refusal)], None
        while len(self._offered) >= PROPOSALS_MAX:
            del self._offered[next(iter(self._offered))]
        offered = self._offered[key] = self._keep(frame, proposal, plan, now)
        return [], offered

    def _keep(self, frame: Frame, proposal: Proposal, plan: Plan, now: Micros) -> Offered:
        """Remember what a vote or a lock may name."""
        while len(self._plans) >= PROPOSALS_MAX:
            del self._plans[next(iter(self._plans))]
        plan_id = codec.plan_id(proposal.plan)
        ask_at = now + self._grace
        offered = Offered(frame, proposal.mode, proposal.term, plan_id, plan, proposal.plan, ask_at)
        self._plans[plan_id] = offered
        return offered

    def _refusal(self, sender: PeerId, proposal: Proposal) -> tuple[str, Plan | None]:
        try:
            plan = codec.decode_plan(proposal.plan)
        except WireError as error:
            return f"plan: {error}", None
        if plan.base != self.s.base.id or plan.mode != proposal.mode:
            return "proposal for another base or mode", None
        if (plan.mode == FOUNDING) != self.s.base.founding:
            return "founding and base contradict each other", None
        if refusal := state_refusal(self.s.charter, plan):
            return f"plan: {refusal}", None
        if not names_electors(plan, self.s.electors):
            return "proposal for another electorate", None
        if plan.mode == PROVISIONAL and self.s.charter.agreement == "bft":
            return "a swarm that agrees by more than two thirds has no provisional plans", None
        if plan.mode != NORMAL:
            listed = any(entry.listed and entry.peer == sender for entry in plan.entries)
            return ("", plan) if listed else ("candidate does not list itself", None)
        if not self._ranked or sender != self.leader(proposal.term):
            return "proposer does not lead this term", None
        if proposal.term > 0 and not self._justified(proposal, codec.plan_id(proposal.plan)):
            return "the skips attached do not open this term for this plan", None
        return "", plan

    def _justified(self, proposal: Proposal, plan: PlanId) -> bool:
        """Return whether the attached skips open the term and carry no vote for another plan."""
        skips: dict[PeerId, Skip] = {}
        try:
            attached = [self.s.sealer.open(raw) for raw in proposal.skips]
        except WireError:
            return False
        for frame in attached:
            skip = frame.message
            if isinstance(skip, Skip) and skip.base == self.s.base.id and skip.mode == proposal.mode:
                skips[frame.sender] = skip
        valid = [s for p, s in skips.items() if p in self.s.electors and s.term >= proposal.term - 1]
        highest = max(valid, key=lambda s: s.voted_term, default=None)
        if highest is None or len(valid) < quorum(self.s.charter, len(self._ranked)):
            return False
        if self.s.charter.agreement == "bft":
            return self._locks.justify(valid, attached, plan)
        return highest.voted_term < 0 or highest.voted_plan == plan

    def of_leader(self, term: Term) -> Offered | None:
        """Return the proposal of the leader of *term*."""
        return self._offered.get((NORMAL, term, self.leader(term)))

    def awaited(self, term: Term) -> PeerId | None:
        """Return the leader of *term* while it has proposed nothing; None when it has, or is this peer."""
        leader = self.leader(term)
        return leader if leader != self.s.me and self.of_leader(term) is None else None

    def of_mode(self, mode: int) -> list[Offered]:
        """Return the proposals of *mode* by term and sender."""
        return [o for (m, _, _), o in sorted(self._offered.items(), key=lambda item: item[0]) if m == mode]

    def plan(self, plan: PlanId) -> Offered | None:
        """Return a proposal of *plan*."""
        return self._plans.get(plan)

    def withdraw(self, offered: Offered) -> None:
        """Forget a proposal whose plan does not follow from its digests."""
        self._offered.pop((offered.mode, offered.term, offered.frame.sender), None)

    def miss(self, sender: PeerId, plan: PlanId, now: Micros) -> None:
        """Note that *sender* names a plan we have not seen."""
        if plan in self._plans or plan in self._unknown or sender == self.s.me:
            return
        of_one = [missed for missed, (who, _) in self._unknown.items() if who == sender]
        if len(of_one) >= UNKNOWN_OF_ONE_MAX:
            del self._unknown[of_one[0]]
        elif len(self._unknown) >= PROPOSALS_MAX:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[plan] = (sender, now + self._grace)

    def ask(self, now: Micros) -> list[Effect]:
        """Ask for the plans missed."""
        effects: list[Effect] = []
        for plan, (sender, at) in sorted(self._unknown.items()):
            if plan in self._plans:
                del self._unknown[plan]
            elif now >= at:
                self._unknown[plan] = (sender, now + self.s.patience // 8)
                effects.append(Send(sender, self.s.sealer.seal(Want(PLANS, (plan,)))))
        return effects

    def deadlines(self) -> list[Micros]:
        """Return when something missing is asked for."""
        return [o.ask_at for o in self._offered.values()] + [at for _, at in self._unknown.values()]


def plan_refusal(situation: Situation, plan: Plan, listed: Mapping[PeerId, Frame]) -> str:
    """Return why *plan* does not follow from its base and the digests it lists; empty when it does.

    Args:
        situation: The base.
        plan: Offered by a peer that may offer one (see `Proposals.add`).
        listed: The frame of every digest that the plan lists, by the peer it is listed under.
    """
    charter, base = situation.charter, situation.base
    if any(frame.sender != peer for peer, frame in listed.items()) or not listed:
        return "digests listed under other peers"
    if counted_twice({peer: digest_of(frame) for peer, frame in listed.items()}, situation.electors):
        return "counts the peers of a cell twice"
    electors = sum(p in situation.electors for p in listed)
    if plan.mode == NORMAL and electors < least_listed(charter, len(situation.electors)):
        return "lists too few of the electorate"
    if plan.mode == FOUNDING and charter.agreement == "bft" and len(listed) < charter.founders:
        return "lists fewer than the founders"
    free = base.founding and not charter.genesis
    reference = plan.reference if free else base.reference
    sketch = read_state(plan).sketch if base.founding else b""
    if len(reference) != 32 or plan != make_plan(
        charter, base, plan.mode, listed, reference=reference, sketch=sketch
    ):
        return "the plan does not follow from its digests"
    return ""
