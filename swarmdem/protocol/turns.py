"""Whose turn it is where no electorate decides: before the first certificate, or without a majority.

The candidates are the peers present, in the order of their rank, one `patience` each, taken anew at
each turn: a list with the dead in it never gathers its votes. A peer votes only for the candidate whose
turn it is, only if listed, and more than half of the *listed* must vote.
"""

from swarmdem.identifiers import Micros, PeerId, Term
from swarmdem.protocol import ballots
from swarmdem.protocol.ballots import Ballots
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import ModelOffered
from swarmdem.protocol.plans import make_plan
from swarmdem.protocol.proposals import Offered, Proposals
from swarmdem.protocol.situation import Situation
from swarmdem.protocol.state import pack_sketch
from swarmdem.wire.messages import FOUNDING, PROVISIONAL, Plan


class Turns:
    """The turns of the candidates on one base."""

    def __init__(self, situation: Situation, proposals: Proposals) -> None:
        self.s = situation
        self.since: Micros | None = None
        """When the turns began; None while there are none."""
        self.genesis: bytes = b""
        """The model this peer names if its founding plan is chosen."""
        self._mode = FOUNDING if situation.base.founding else PROVISIONAL
        self._proposals = proposals
        self._genesis_sketch: bytes = b""
        self._candidate: PeerId | None = None
        self._ends: Micros = 0
        self._look_at: Micros = 0

    def offer(self, offered: ModelOffered) -> None:
        """Note the learner's first model: a founding plan of this peer would name it."""
        charter = self.s.charter
        self.genesis = charter.genesis or offered.model
        if charter.metric == "cosine" and offered.model == self.genesis:
            assert len(offered.sketch) == 2 * charter.digest, "the metric cosine needs the model's own sketch"
            self._genesis_sketch = pack_sketch(offered.scale, offered.sketch)

    def turn(self, frozen_at: Micros, now: Micros) -> int | None:
        """Return the number of the present turn; None when it is nobody's."""
        s = self.s
        if not s.clock.connected or not (s.base.founding or self._majority_lost(frozen_at, now)):
            return None
        if self.since is None:
            self.since = self._ends = now
        return (now - self.since) // s.patience

    def _majority_lost(self, frozen_at: Micros, now: Micros) -> bool:
        s = self.s
        if s.charter.agreement == "bft":
            return False
        if now < s.suspicion.lonely_from(frozen_at) or now < self._look_at:
            return False
        if self.since is not None and now < self._ends:
            return True
        heard = s.membership.naming(s.base.id, now) | {s.me}
        if 2 * len(heard & s.electors) > len(s.electors):
            self._look_at = now + s.patience // 4
            self.since = self._candidate = None
            return False
        return True

    def opens(self, turn: int, now: Micros) -> bool:
        """Note whose turn has begun; return True when it is ours."""
        s = self.s
        if self.since is None or now < self._ends:
            return False
        self._ends = self.since + (turn + 1) * s.patience
        present = s.present(now)
        ranked = rank(present, s.base.id + b"turn") if s.me in present else ()
        self._candidate = ranked[turn % len(ranked)] if ranked else None
        return self._candidate == s.me

    def candidature(self, cast: Ballots, turn: int, now: Micros) -> tuple[Plan, Term] | None:
        """Return the plan to propose in our own turn, and its term."""
        s, founding = self.s, self._mode == FOUNDING
        present = s.present(now)
        reference = s.base.reference or self.genesis
        sketch = self._genesis_sketch if founding else b""
        if len(reference) != 32 or (founding and s.charter.metric == "cosine" and not sketch):
            return None
        offered = (o.term for o in self._proposals.of_mode(self._mode) if o.frame.sender in present)
        mine = cast.highest_cast(self._mode)
        seen = max(cast.highest_term(self._mode, present), *offered, mine[0] if mine is not None else -1)
        term = max(turn, seen + 1)
        if term > ballots.TERM_MAX:
            return None
        listed = s.listable(present)
        if s.me not in listed:
            return None
        return make_plan(s.charter, s.base, self._mode, listed, reference=reference, sketch=sketch), term

    def choice(self, cast: Ballots) -> Offered | None:
        """Return the proposal to vote for: the present candidate's newest that lists us."""
        for offered in reversed(self._proposals.of_mode(self._mode)):
            if offered.id in self.s.barred:
                continue
            wanted = offered.frame.sender == self._candidate and cast.may_vote(self._mode, offered.term)
            if wanted and self.s.me in offered.listed:
                return offered
        return None

    def deadlines(self, frozen_at: Micros) -> list[Micros]:
        """Return the connected times at which a turn begins or ends, past ones among them."""
        begin = [] if self.s.base.founding else [self.s.suspicion.lonely_from(frozen_at)]
        return [self._ends, self._look_at, *begin]
