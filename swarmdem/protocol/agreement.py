"""One round's set of digests: collect, freeze, reconcile; `voting` turns it into a certificate.

Freezing starts the clocks of the terms and does not close the set: a digest that comes late is
still listed if the proposer holds it. Everything here counts connected time.
"""

from swarmdem.identifiers import FrameId, Micros, PeerId, PlanId
from swarmdem.protocol import ballots
from swarmdem.protocol.ballots import Choice
from swarmdem.protocol.certificates import quorum
from swarmdem.protocol.collecting import Collecting
from swarmdem.protocol.election import rank
from swarmdem.protocol.events import Effect, Publish, Reject, Send
from swarmdem.protocol.forwarding import bundled
from swarmdem.protocol.packing import Packing
from swarmdem.protocol.proposals import GRACE
from swarmdem.protocol.shortening import ShortProposals, votes_of
from swarmdem.protocol.situation import Situation
from swarmdem.protocol.voting import Voting
from swarmdem.wire.extensions import STANDING, entry
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import (
    DIGESTS,
    NORMAL,
    PLANS,
    Digest,
    Message,
    Ping,
    Proposal,
    Skip,
    Summary,
    Vote,
    Want,
)
from swarmdem.wire.shortened import DigestPack, ShortCertificate, ShortProposal

RECONCILE_CYCLES_MAX = 2
"""Times a peer asks for what another's summary shows it to miss."""
SUMMARY_RECEIVERS = 3
"""Rank 0 and two others."""


class Agreement:
    """From one base to the next certificate, at one peer."""

    def __init__(
        self, situation: Situation, allowance: Micros, hopeless: frozenset[PeerId] = frozenset()
    ) -> None:
        """Begin with nothing.

        Args:
            situation: The base and what is known about it.
            allowance: As of `Collecting`.
            hopeless: As of `Collecting`.
        """
        self.s = situation
        self.voting = Voting(situation)
        self._short = ShortProposals(situation, self.voting.proposals)
        self.packing = Packing(situation)
        self.collecting = Collecting(situation, allowance, hopeless)
        self._summarised = False
        self._cycles = 0
        self._mine: Frame | None = None
        self._said_at: Micros = 0
        """When this peer's digest last crossed in full."""
        self._asked_at: dict[PeerId, Micros] = {}
        self.told: PlanId | None = None
        """The plan of which somebody told everybody enough votes."""
        self._again_at: Micros | None = None
        """When founders who came after this peer's word are told once more that it is there."""

    def take(self, frame: Frame, now: Micros) -> list[Effect]:
        """Take a frame that belongs to this base."""
        match frame.message:
            case Digest():
                return self.on_digest(frame, now)
            case Proposal():
                return self.voting.on_proposal(frame, now)
            case Vote():
                return self.voting.on_vote(frame, now)
            case Skip():
                return self.voting.on_skip(frame, now)
            case Ping() as ping:
                return self._on_ping(frame.sender, ping, now)
            case ShortProposal():
                return self._short.hear(frame, now)
            case DigestPack():
                return self._on_pack(frame, now)
            case ShortCertificate() as short:
                return self._on_votes(frame.sender, short, now)
            case Summary() as summary:
                return self.on_summary(frame.sender, summary)
            case _:
                return []

    def on_digest(self, frame: Frame, now: Micros) -> list[Effect]:
        """Keep a digest, direct or forwarded."""
        assert isinstance(frame.message, Digest)
        effects = self.s.add_digest(frame)
        if frame.sender in self.s.digests.current:
            self.collecting.missing.discard(frame.sender)
            if frame.sender == self.s.me:
                self._mine, self._said_at = frame, now
        return effects

    def introduce(self, founder: PeerId, now: Micros) -> list[Effect]:
        """Tell a *founder* who has just come that this peer is there.

        Where many come at once all are told together, patience / 8 after the last word: each told by each
        would be a million messages in a swarm of a thousand.
        """
        if self._mine is None:
            return []
        if now >= self._said_at + self.s.patience // 8:
            return [Send(founder, self._mine)]
        self._again_at = self._said_at + self.s.patience // 8
        return []

    def _introduced(self, now: Micros) -> list[Effect]:
        """Say once more that this peer is there, if it is time and the founding has not begun."""
        if self._again_at is None or now < self._again_at or self._mine is None:
            return []
        self._again_at, self._said_at = None, now
        return [Publish(self._mine)] if self.voting.frozen_at is None else []

    def lacks(self, message: Message) -> bool:
        """Return whether *message*, on this base, is a ping that names a digest to ask for."""
        if not self.packing.collects:
            return False
        named = entry(message.ext, STANDING) if isinstance(message, Ping) and message.ext else None
        return named is not None and FrameId(named) not in self.s.digests.by_id

    def _on_ping(self, sender: PeerId, ping: Ping, now: Micros) -> list[Effect]:
        """Ask for the digest its sender stands by, at most every patience / 8."""
        if now < self._asked_at.get(sender, 0) or not self.s.membership.names(sender, ping.base, now):
            return []
        named = entry(ping.ext, STANDING)
        full = len(self._asked_at) >= 2 * self.s.charter.peers_max and sender not in self.s.electors
        if full or named is None or len(named) != 32 or not self.lacks(ping):
            return []
        self._asked_at[sender] = now + self.s.patience // 8
        return [Send(sender, self.s.sealer.seal(Want(DIGESTS, (named,))))]

    def _on_pack(self, frame: Frame, now: Micros) -> list[Effect]:
        effects, digests = self.packing.hear(frame)
        for digest in digests:
            if digest.id not in self.s.digests.by_id:
                effects += self.on_digest(digest, now)
            effects += self.packing.note(digest, now)
        return effects

    def _on_votes(self, sender: PeerId, short: ShortCertificate, now: Micros) -> list[Effect]:
        """Count the votes of a certificate whose plan we hold, or ask for unless a stranger made them up."""
        votes = votes_of(self.s, short)
        if votes or sender in self.s.electors:
            self.voting.proposals.miss(sender, PlanId(short.plan), now)
        if len(votes) >= quorum(self.s.charter, len(self.s.electors)):
            self.told = PlanId(short.plan)
        return [effect for vote in votes for effect in self.voting.on_vote(vote, now)]

    def on_summary(self, sender: PeerId, summary: Summary) -> list[Effect]:
        """Send what the sender lacks; ask for what we lack, at most twice a round."""
        theirs = set(summary.digests)
        held = {frame.id[:16]: frame for frame in self.s.digests.current.values()}
        effects: list[Effect] = []
        lacking = [held[i] for i in sorted(held) if i not in theirs]
        effects += self.bundles(sender, lacking)
        known = {frame_id[:16] for frame_id in self.s.digests.by_id}
        unknown = tuple(i for i in summary.digests if i not in known)
        if unknown and self._cycles < RECONCILE_CYCLES_MAX:
            self._cycles += 1
            effects.append(Send(sender, self.s.sealer.seal(Want(DIGESTS, unknown))))
        return effects

    def on_want(self, sender: PeerId, want: Want) -> list[Effect]:
        """Forward the frames asked for, as far as we hold them."""
        ids = dict.fromkeys(want.ids)  # each once: a short question must not have an endless answer
        if want.what == DIGESTS:
            found = [self.s.digests.find(i) for i in ids]
        elif want.what == PLANS:
            return self._plans(sender, [PlanId(i) for i in ids])
        else:
            return [Reject(sender, "asks for something unknown")]
        return self.bundles(sender, [frame for frame in found if frame is not None])

    def _plans(self, sender: PeerId, ids: list[PlanId]) -> list[Effect]:
        """Forward proposals, each with what proves that it was prepared (`locks`)."""
        raws: list[bytes] = []
        for offered in filter(None, map(self.voting.proposals.plan, ids)):
            raws += [offered.frame.raw, *self.voting.locks.seen(offered.id)]
        return bundled(self.s.sealer, sender, raws)

    def bundles(self, receiver: PeerId, frames: list[Frame]) -> list[Effect]:
        """Return *frames* forwarded byte for byte, in bundles that fit a frame."""
        return bundled(self.s.sealer, receiver, [frame.raw for frame in frames])

    def restore(self, value: bytes, now: Micros) -> None:
        """Take back what was voted on this base before a restart."""
        record = ballots.read_record(value)
        if record is not None and record.base == self.s.base.id:
            self.voting.restore(record, now)

    def advance(self, now: Micros) -> list[Effect]:
        """Freeze when it is time and do what the votes ask for."""
        effects: list[Effect] = []
        for frame in self._short.rebuilt():
            effects += self.voting.on_proposal(frame, now)
        if self.voting.frozen_at is None and self._freeze_due(now):
            self.voting.freeze(now)
        effects += self._introduced(now)
        if self.voting.frozen_at is not None and not self._summarised and self.s.clock.connected:
            effects += self._summaries(now)
        if self.packing.kept:
            proposed = self._short.waiting or self.voting.proposals.of_leader(0) is not None
            effects += self.packing.due(self.voting.frozen_at, now, proposed=proposed)
        return effects + self.voting.advance(now)

    def _freeze_due(self, now: Micros) -> bool:
        skipped = not self.s.base.founding and self.voting.skip_quorum()
        return skipped or self.collecting.is_over(now)

    def expects(self, frame: Frame, now: Micros) -> bool:
        """Return whether *frame* is one of several digests or votes still waited for: it is only held."""
        message, sender = frame.message, frame.sender
        if sender == self.s.me:
            return False
        if isinstance(message, Digest):
            calm = self.voting.frozen_at is None and not self._short.waiting
            return message.base == self.s.base.id and calm and self.collecting.is_one_of_many(sender, now)
        return isinstance(message, Vote) and sender in self.s.electors and self._needs_more(message)

    def _needs_more(self, vote: Vote) -> bool:
        """Return whether *vote* is for a known plan that needs further votes after it."""
        s, voting = self.s, self.voting
        if vote.base != s.base.id or vote.mode != NORMAL or s.charter.agreement == "bft":
            return False
        more = voting.ballots.counted(Choice(NORMAL, vote.term, vote.plan)) + 1
        few = more < quorum(s.charter, len(s.electors))
        return few and voting.certificate is None and voting.proposals.plan(vote.plan) is not None

    def _summaries(self, now: Micros) -> list[Effect]:
        """Tell rank 0 and two others what we hold, unless nothing seems to be missing.

        A peer that holds every elector's digest lacks nothing; whoever lacks one says so itself. In a crowd
        only those do who may propose next: others ask for what a proposal lists and they lack.
        """
        s = self.s
        if self.collecting.missing and now < self._summary_at():
            return []
        self._summarised = True
        if s.base.founding or not self.collecting.missing:
            return []
        if self.packing.crowd and s.me not in self.packing.collectors:
            return []
        ids = tuple(sorted(frame.id[:16] for frame in s.digests.current.values()))
        frame = s.sealer.seal(Summary(s.base.id, ids, reply=True))
        receivers = [peer for peer in self._summary_receivers(now) if peer != s.me][:SUMMARY_RECEIVERS]
        return [Send(peer, frame) for peer in receivers]

    def _summary_receivers(self, now: Micros) -> tuple[PeerId, ...]:
        s = self.s
        if self.packing.crowd:
            return self.packing.collectors
        first = rank(s.base.electorate, s.base.id)[:1]
        return (*first, *rank((p for p in s.present(now) if p not in first), s.base.id + s.me))

    def _summary_at(self) -> Micros:
        return (self.voting.frozen_at or 0) + self.s.patience // GRACE

    def repeated(self, now: Micros) -> list[Publish]:
        """Say again what stands, each frame in the form in which it crossed."""
        return [Publish(frame, short=self.voting.short.get(frame.id)) for frame in self._standing(now)]

    def _standing(self, now: Micros) -> list[Frame]:
        """Return the frames repeated until the next certificate, a ping last: it proves presence.

        The ping names this peer's digest for those who missed it. After an outage they may be many, so
        the digest itself is said once more.
        """
        mine, repeated = self._mine, self.voting.standing()
        if mine is not None and (self.s.base.founding or self._said_at <= self.s.clock.resumed_at):
            self._said_at = now
            return [mine, *repeated] if self.s.base.founding else [mine, *repeated, self.ping()]
        return repeated if self.s.base.founding else [*repeated, self.ping()]

    def speaks_at(self, spoke_at: Micros) -> Micros:
        """Return when this peer must be heard again, or others take it for gone, given when it last was."""
        few_words = self.packing.crowd and not self.voting.repeats
        return spoke_at + self.s.patience // (2 if few_words else 4)

    def ping(self) -> Frame:
        """Return a sign of life that names the base and the digest this peer stands by."""
        ext = ((STANDING, self._mine.id),) if self._mine is not None and not self.s.base.founding else ()
        return self.s.sealer.seal(Ping(self.s.base.id, ext))

    def deadlines(self, now: Micros) -> list[Micros]:
        """Return the connected times at which `advance` has something to do."""
        due = self.voting.deadlines(now) + self.packing.deadlines(self.voting.frozen_at)
        if self._again_at is not None:
            due.append(self._again_at)
        if self.voting.frozen_at is not None:
            due.append(self._summary_at())
        else:
            due += self.collecting.deadlines(now)
        return [at for at in due if at > now]
