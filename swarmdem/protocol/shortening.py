"""Proposals, certificates and means in few bytes, for peers that hold what is in them (`wire.shortened`).

A short form never decides anything by itself: a proposal is rebuilt byte for byte as its leader signed
it, a certificate becomes the votes it carries, a mean names its group's members by their numbers, and all
then go the way of the long form. Whoever lacks a
digest, or holds another one of a peer that restarted, cannot rebuild the plan and asks for it by its id.
"""

from swarmdem.errors import WireError
from swarmdem.identifiers import FrameId, Micros, PeerId, PlanId
from swarmdem.protocol.events import Effect, Reject
from swarmdem.protocol.plans import Base, make_plan
from swarmdem.protocol.proposals import Proposals
from swarmdem.protocol.recent import Recent
from swarmdem.protocol.situation import Situation
from swarmdem.wire import codec
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import NORMAL, Certificate, Mean, Plan, Proposal, Vote
from swarmdem.wire.shortened import (
    OTHERS_MAX,
    ShortCertificate,
    ShortMean,
    ShortProposal,
    bitmap,
    numbers_in,
)
from swarmdem.wire.signing import peer_id

MEAN_SHORT_FROM = 8
"""Means of more peers than this cross in short: to make and check a second signature must be worth it."""
MEANS_KEPT = 64
"""Means whose long form is remembered for all peers of a process."""
_means: Recent[tuple[FrameId, tuple[PeerId, ...]], Frame | None] = Recent(MEANS_KEPT)
SHORT_MAX = 4
"""Short proposals looked at on one base: its first leader has one plan, or one more after each restart."""


def shorten_proposal(situation: Situation, frame: Frame, plan: Plan) -> Frame | None:
    """Return the short form of this peer's proposal of *plan* in *frame*; None where there is none."""
    proposal = frame.message
    assert isinstance(proposal, Proposal)
    if plan.mode != NORMAL or proposal.term or proposal.skips:
        return None
    electors = situation.base.electorate
    listed = {entry.peer: entry.digest for entry in plan.entries if entry.listed}
    others = sorted(digest for peer, digest in listed.items() if peer not in situation.electors)
    if len(others) > OTHERS_MAX:
        return None
    mapped = bitmap({number for number, peer in enumerate(electors) if peer in listed}, len(electors))
    short = ShortProposal(
        plan.base, codec.plan_id(proposal.plan), frame.session, frame.sequence, frame.signature, mapped,
        tuple(others),
    )  # fmt: skip
    return situation.sealer.seal(short)


class ShortProposals:
    """The proposals of one base of which only the short form is here."""

    def __init__(self, situation: Situation, proposals: Proposals) -> None:
        self.s = situation
        self._proposals = proposals
        self._waiting: dict[PlanId, Frame] = {}
        self._heard = 0
        self._digests = 0

    @property
    def waiting(self) -> bool:
        """Return whether a plan was put to the vote that cannot be rebuilt so far."""
        return bool(self._waiting)

    def hear(self, frame: Frame, now: Micros) -> list[Effect]:
        """Take a short form; what it stands for follows from `rebuilt`, or from asking for the plan."""
        short = frame.message
        assert isinstance(short, ShortProposal)
        plan = PlanId(short.plan)
        if self._proposals.plan(plan) is not None or plan in self._waiting:
            return []
        if not self.s.electors or frame.sender != self._proposals.leader(0):
            return [Reject(frame.sender, "proposer does not lead this term")]
        self._heard += 1
        if self._heard > SHORT_MAX:
            return [Reject(frame.sender, "too many proposals for one term")]
        self._waiting[plan] = frame
        self._digests = 0
        self._proposals.miss(frame.sender, plan, now)
        return []

    def rebuilt(self) -> list[Frame]:
        """Return the proposals whose digests are all here by now; forget those that came in the long form."""
        self._waiting = {plan: f for plan, f in self._waiting.items() if self._proposals.plan(plan) is None}
        held = len(self.s.digests.by_id)
        if not self._waiting or held == self._digests:
            return []
        self._digests = held
        found = []
        for plan, frame in list(self._waiting.items()):
            short = frame.message
            assert isinstance(short, ShortProposal)
            listed = _listed(self.s, short)
            if listed is not None:
                del self._waiting[plan]
                found.append(_rebuild(self.s, frame, short, listed))
        return [frame for frame in found if frame is not None]


def _listed(situation: Situation, short: ShortProposal) -> dict[PeerId, Frame] | None:
    """Return the digests that a proposal lists, by peer; None while some are missing."""
    electors, held = situation.base.electorate, situation.digests
    numbers = numbers_in(short.listed)
    if numbers and numbers[-1] >= len(electors):
        return None
    frames = [held.current.get(electors[number]) for number in numbers]
    frames += [held.by_id.get(FrameId(name)) for name in short.others]
    found = {frame.sender: frame for frame in frames if frame is not None}
    return found if found and len(found) == len(frames) else None


def _rebuild(
    situation: Situation, frame: Frame, short: ShortProposal, listed: dict[PeerId, Frame]
) -> Frame | None:
    """Return the proposal that *frame* is the short form of; None where these digests make another plan."""
    base = situation.base
    body = codec.encode_plan(make_plan(situation.charter, base, NORMAL, listed, reference=base.reference))
    if codec.plan_id(body) != short.plan:
        return None
    proposal, numbers = Proposal(NORMAL, 0, body, ()), (short.session, short.sequence)
    try:
        return situation.sealer.rebuilt(proposal, frame.public_key, numbers, short.signature)
    except WireError:
        return None


def shorten_mean(sealer: Sealer, members: tuple[PeerId, ...], frame: Frame) -> Frame | None:
    """Return the short form of the mean of a group of *members* in *frame*; None where it saves nothing."""
    mean = frame.message
    assert isinstance(mean, Mean)
    included = set(mean.included)
    if len(included) <= MEAN_SHORT_FROM or mean.step:
        return None
    mapped = bitmap({number for number, peer in enumerate(members) if peer in included}, len(members))
    short = ShortMean(
        mean.plan, mean.group, mean.term, mean.weight, mapped, mean.model, mean.model_bytes, mean.skips,
        mean.ext, frame.session, frame.sequence, frame.signature,
    )  # fmt: skip
    saves = len(codec.encode_body(short)) < len(codec.encode_body(mean))
    return sealer.seal(short) if saves else None


def long_mean(sealer: Sealer, members: tuple[PeerId, ...], frame: Frame) -> Frame | None:
    """Return the mean that *frame* is the short form of; None when its sender did not sign that."""
    short = frame.message
    assert isinstance(short, ShortMean)
    asked = (frame.id, members)
    return _means.get(asked, lambda: _long_mean(sealer, members, frame, short), about=frame.id)


def _long_mean(sealer: Sealer, members: tuple[PeerId, ...], frame: Frame, short: ShortMean) -> Frame | None:
    numbers = numbers_in(short.included)
    if numbers and numbers[-1] >= len(members):
        return None
    mean = Mean(
        short.plan, 0, short.group, short.term, short.weight, tuple(members[number] for number in numbers),
        short.model, short.model_bytes, short.skips, short.remarks,
    )  # fmt: skip
    try:
        return sealer.rebuilt(mean, frame.public_key, (short.session, short.sequence), short.signature)
    except WireError:
        return None


def shorten_certificate(sealer: Sealer, base: Base) -> Frame | None:
    """Return the short form of the certificate of *base*, sealed; None where there is none."""
    plan, certificate = base.plan, base.certificate
    if plan is None or not isinstance(certificate, Certificate) or plan.mode != NORMAL:
        return None
    electors = [entry.peer for entry in plan.entries if entry.elector]
    signatures = {peer_id(vote.public_key): vote.signature for vote in certificate.votes}
    numbers = [number for number, peer in enumerate(electors) if peer in signatures]
    joined = b"".join(signatures[electors[number]] for number in numbers)
    mapped = bitmap(set(numbers), len(electors))
    plan_id = codec.plan_id(certificate.plan)
    return sealer.seal(ShortCertificate(plan.base, plan_id, certificate.term, mapped, joined))


def votes_of(situation: Situation, short: ShortCertificate) -> list[Frame]:
    """Return the votes that a certificate carries, as far as their voters' keys are known; none if forged."""
    electors, digests = situation.base.electorate, situation.digests.current
    vote = Vote(short.base, NORMAL, short.term, short.plan)
    found = []
    for at, number in enumerate(numbers_in(short.voters)):
        digest = digests.get(electors[number]) if number < len(electors) else None
        if digest is None:
            continue
        signature = short.signatures[64 * at : 64 * at + 64]
        try:
            found.append(situation.sealer.rebuilt(vote, digest.public_key, (0, 0), signature))
        except WireError:
            return []
    return found
