"""The invariants of a round (docs/simulation.md), checked at every effect of every peer.

`Checkers` sees each effect just before it is performed, so a frame that breaks a promise never
arrives. This module holds the checks on agreement (votes, certificates, trees, deadlines);
`accounting` holds those on the update (means, mixtures, applications). Each check has a test that
plants the bug it is for.

Only normal certificates are unique per base: two provisional ones may exist when the swarm was cut
in two, and meet by the rule of lineages. Of founding certificates the better one wins later.

With liars in the swarm every check still holds for the honest peers, but one: where more than half decide
(`agreement = available`), a liar's two votes may make two certificates of one base. Under `bft` fewer than a
third of liars cannot. Of liars themselves only their honest core is judged, and not for what it votes.
"""

from dataclasses import dataclass

from swarmdem.identifiers import SECOND, FrameId, Micros, PeerId, PlanId, brief
from swarmdem.protocol.events import (
    Apply,
    Certified,
    Effect,
    GroupAveraged,
    GroupFinished,
    NeighboursAveraged,
    Persist,
    Publish,
    Report,
    RoundFinished,
    Send,
)
from swarmdem.protocol.plans import decide
from swarmdem.protocol.state import state_ext
from swarmdem.simulation.accounting import Accounting
from swarmdem.simulation.bounds import Bounds
from swarmdem.simulation.evidence import Broken, Evidence, KnownPlan
from swarmdem.simulation.models import ModelBook
from swarmdem.simulation.signatures import VERIFIER, PretendedIdentity
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import (
    FOUNDING,
    NORMAL,
    Certificate,
    Digest,
    Final,
    GroupSkip,
    Mean,
    Proposal,
    Skip,
    Vote,
)

__all__ = ["Broken", "Checkers"]

NOTARY = 2**63
"""Number of a peer that is in no world: its sealer checks signatures for the checkers."""
_PLAYED = (Digest, Proposal, Vote, Skip, Certificate, Mean, Final, GroupSkip)


@dataclass(slots=True)
class OpenRound:
    """An update that has begun at a peer and is not over."""

    plan: PlanId
    begun: Micros
    span: Micros
    """Time it may take in calm weather."""


class Checkers:
    """All checks of one world.

    Args:
        charter: The swarm's settings.
        book: Every model that exists.
        peers: How many take part.

    Attributes:
        liars: Peers of which nothing but an honest core is expected; what they say beside it, and what
            their votes are worth, is not held against anybody.
    """

    def __init__(self, charter: Charter, book: ModelBook, peers: int) -> None:
        self.evidence = Evidence(charter, book)
        self.liars = self.evidence.liars
        self.accounting = Accounting(self.evidence)
        self.open_rounds: dict[PeerId, OpenRound] = {}
        self.on_state = Bounds(peers).on_state
        self._charter = charter
        self._strict = str(charter.agreement) == "bft"
        self._notary = FrameSealer(PretendedIdentity(NOTARY), charter, 1, VERIFIER)
        self._seen: set[FrameId] = set()
        self._skips: dict[tuple[PeerId, bytes, int], Skip] = {}
        self._normal: dict[bytes, PlanId] = {}
        self._trees: dict[PlanId, bytes] = {}
        self._followed: dict[PlanId, bytes] = {}
        """Plans that were decided here once more, with the hash of the tree that came out."""

    def on_effect(self, peer: PeerId, effect: Effect, now: Micros) -> None:
        """Check what *peer* is about to do.

        Raises:
            Broken: It must not.
        """
        kind = type(effect)
        if kind is Publish or kind is Send:
            assert isinstance(effect, Publish | Send)
            frame = effect.frame
            if isinstance(frame.message, _PLAYED) and frame.id not in self._seen and frame.sender == peer:
                self._seen.add(frame.id)
                self._on_frame(peer, frame)
        elif kind is Report:
            assert isinstance(effect, Report)
            self._on_report(peer, effect, now)
        elif kind is Persist:
            assert isinstance(effect, Persist)
            self._on_record(peer, effect)
        elif kind is Apply:
            assert isinstance(effect, Apply)
            if peer not in self.liars:
                self.accounting.on_apply(peer, effect)

    def on_applied(self, peer: PeerId, order: Apply) -> None:
        """Note that the result of *order* is installed at *peer*, whether or not its core learns of it."""
        self.accounting.on_applied(peer, order)

    def on_gone(self, peer: PeerId) -> None:
        """Note that the process of *peer* ended: what it had begun is over."""
        self.open_rounds.pop(peer, None)

    def on_time(self, peer: PeerId, calm_since: Micros | None, now: Micros) -> None:
        """Check that *peer* is not past the deadline of the update it began.

        Args:
            peer: Whom to check.
            calm_since: When the last fault of its link ended (its core's clock stands still during
                one); None while one lasts.
            now: World time.
        """
        current = self.open_rounds.get(peer)
        if current is None or calm_since is None or now <= max(current.begun, calm_since) + current.span:
            return
        raise Broken(
            "every started round ends within the nested deadlines",
            f"peer {brief(peer)} still works on plan {brief(current.plan)} at {now / SECOND:.3f} s",
        )

    def _on_record(self, peer: PeerId, record: Persist) -> None:
        """Take a certificate or digest as said once it is on disk: a crash may keep it from leaving."""
        if record.key == "certificate" and record.value:
            self._on_certificate(codec.decode_body(Certificate, record.value))
        elif record.key == "digest" and record.value:
            self._on_frame(peer, self._notary.open(record.value))
        elif record.key == "applied":
            self.accounting.on_written(peer, record.value)

    def _on_frame(self, peer: PeerId, frame: Frame) -> None:
        match frame.message:
            case Digest() as digest:
                self.evidence.digests[frame.id] = (peer, digest)
            case Proposal(plan=body):
                self.evidence.learn_plan(body)
            case Vote() as vote:
                self._on_vote(peer, vote)
            case Skip() as skip:
                self._on_skip(peer, skip)
            case Certificate() as certificate:
                self._on_certificate(certificate)
            case Mean() as announced:
                self.accounting.on_mean(peer, announced)
            case Final() as announced:
                self.accounting.on_final(peer, announced)
            case GroupSkip() as accusation:
                self.evidence.skipped.add((peer, accusation.plan, accusation.group))

    def _on_vote(self, peer: PeerId, vote: Vote) -> None:
        if peer in self.liars:
            return
        self._must_be_only_vote(peer, vote)
        skip = self._skips.get((peer, vote.base, vote.mode))
        if skip is None or vote.term > skip.term:
            return
        if (skip.voted_term, skip.voted_plan) < (vote.term, vote.plan):  # else: cast before, told after
            raise Broken("no vote in a skipped term", f"peer {brief(peer)} in term {vote.term}")

    def _must_be_only_vote(self, peer: PeerId, vote: Vote) -> None:
        if peer in self.liars:
            return
        cast = self.evidence.votes.setdefault((peer, vote.base, vote.mode), {})
        earlier = cast.setdefault(vote.term, vote.plan)
        if earlier != vote.plan:
            raise Broken(
                "one vote per peer, base and term",
                f"peer {brief(peer)} votes for {brief(vote.plan)} after {brief(earlier)} in term {vote.term}",
            )

    def _on_skip(self, peer: PeerId, skip: Skip) -> None:
        if peer in self.liars:
            return
        key = (peer, skip.base, skip.mode)
        if key not in self._skips or skip.term > self._skips[key].term:
            self._skips[key] = skip
        cast = self.evidence.votes.get(key, {})
        highest = max(((term, plan) for term, plan in cast.items() if term <= skip.term), default=(-1, b""))
        if (skip.voted_term, skip.voted_plan) < highest:
            raise Broken(
                "a skip carries the sender's highest vote",
                f"peer {brief(peer)} names term {skip.voted_term} but voted in term {highest[0]}",
            )

    def _on_certificate(self, certificate: Certificate) -> None:
        known = self.evidence.learn_plan(certificate.plan)
        self._must_have_quorum(known, certificate)
        if known.plan.mode == NORMAL:
            self._must_be_only(known)

    def _must_have_quorum(self, known: KnownPlan, certificate: Certificate) -> None:
        """Count votes by their signatures: one may have crashed between its disk and its broadcast."""
        plan = known.plan
        entitled = {e.peer for e in plan.entries if (e.elector if plan.mode == NORMAL else e.listed)}
        content = Vote(plan.base, plan.mode, certificate.term, known.id)
        voters = {self._notary.proves(vote, content) for vote in certificate.votes}
        for voter in sorted(voter for voter in voters if voter is not None):
            self._must_be_only_vote(voter, content)
        valid = len(voters & entitled)
        if (3 * valid <= 2 * len(entitled)) if self._strict else (2 * valid <= len(entitled)):
            share = "two thirds" if self._strict else "half"
            raise Broken(
                f"a certificate carries the votes of more than {share}",
                f"plan {brief(known.id)}: {valid} of {len(entitled)}",
            )

    def _must_be_only(self, known: KnownPlan) -> None:
        """Where more than half decide, one liar among them may be the half that decides both ways."""
        if self.liars and not self._strict:
            return
        earlier = self._normal.setdefault(known.plan.base, known.id)
        if earlier != known.id:
            raise Broken(
                "at most one normal certificate per base",
                f"base {brief(known.plan.base)} has {brief(earlier)} and {brief(known.id)}",
            )

    def _on_report(self, peer: PeerId, report: Report, now: Micros) -> None:
        match report.event:
            case Certified() as event:
                self._on_certified(peer, event, now)
            case GroupAveraged() as event:
                self.accounting.on_averaged(peer, event)
            case GroupFinished() as event:
                self.accounting.on_finished(peer, event)
            case NeighboursAveraged() as event:
                self.accounting.on_gossiped(peer, event)
            case RoundFinished() as event:
                begun = self.open_rounds.get(peer)
                if begun is not None and begun.plan == event.plan:
                    del self.open_rounds[peer]
                self.accounting.on_round_finished(peer, event)
            case _:
                pass

    def _on_certified(self, peer: PeerId, event: Certified, now: Micros) -> None:
        self.open_rounds.pop(peer, None)
        known = self.evidence.plans.get(event.plan)
        if known is None:
            raise Broken("a certificate was proposed by somebody", f"plan {brief(event.plan)}")
        if event.mode == NORMAL:
            self._must_be_only(known)
        if self._trees.setdefault(event.plan, event.tree) != event.tree:
            raise Broken(
                "holders of a certificate compute one tree", f"peer {brief(peer)}, {brief(event.plan)}"
            )
        if event.mode == FOUNDING:
            return
        self._must_follow(peer, known, event)
        if peer in known.digests:
            self.open_rounds[peer] = OpenRound(event.plan, now, self._deadline(known, peer))

    def _must_follow(self, peer: PeerId, known: KnownPlan, event: Certified) -> None:
        """Check a plan against base and listed digests, decided here once more, and the tree at *peer*."""
        tree = self._followed.get(known.id)
        if tree is None:
            tree = self._followed[known.id] = self._decided(known)
        if event.tree != tree:
            raise Broken("the tree follows from the digests", f"peer {brief(peer)}, plan {brief(event.plan)}")

    def _decided(self, known: KnownPlan) -> bytes:
        """Return the hash of the tree that a plan must have; all else that it says is compared here."""
        plan, digests = known.plan, {}
        for listed in sorted(known.digests):
            digest = self.evidence.upload(known, listed)
            if digest is None:
                raise Broken(
                    "listed digests were published", f"peer {brief(listed)} in plan {brief(known.id)}"
                )
            digests[listed] = digest
        made = decide(self._charter, self.evidence.plans[PlanId(plan.base)].base, digests)
        ext = state_ext(self._charter, made.state, sorted(digests), plan.mode)
        if (plan.round, plan.hysteresis, plan.tau, plan.ext) != (made.round, made.hysteresis, made.tau, ext):
            raise Broken("clock, tables and standing follow from base and digests", f"plan {brief(known.id)}")
        return made.tree.tree_hash() if made.tree is not None else b""

    def _deadline(self, known: KnownPlan, peer: PeerId) -> Micros:
        """Return the span in which the update must end at *peer*: the window of its parent and its own.

        Twice that, and two patiences more: the clock of a core stands still whenever an echo is
        late, and this one does not.
        """
        tree = known.tree
        assert tree is not None
        blob = known.base.state.conduct.model_us(self._charter)

        def half(group: bytes) -> Micros:
            found = next(g for g in tree.groups if g.id == group)
            return self._charter.patience_us // 4 + (len(found.leaves) + len(found.children)) * blob

        up: dict[bytes, Micros] = {}
        for group in reversed(tree.groups):
            up[group.id] = max((up[child] for child in group.children), default=0) + 2 * half(group.id)
        down: dict[bytes, Micros] = {}
        for group in tree.groups:
            above = up[group.id] if group.parent is None else down[group.parent]
            down[group.id] = above + 2 * half(group.id)
        parent = tree.parent_of(peer)
        assert parent is not None
        return 2 * (down[parent] + half(parent)) + 2 * self._charter.patience_us
