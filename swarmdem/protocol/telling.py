"""Who tells the others of a new certificate: its leader at once, another holder later if nobody did.

Where everybody gets every vote all hold the certificate at the same moment. So the others give what the
leader says patience / 16 to arrive, and then wait for each other. Only what proves itself spares them the
telling: enough votes that were verified (`Agreement.told`), or the word of a peer that the plan names, of
enough votes that are held here or were verified now. To whom else that word went nobody can know: a peer that
lies may tell it to a holder alone, and who lacks the certificate then gets it by asking, as after any lost
message.
"""

from collections.abc import Mapping, Sequence

from swarmdem.identifiers import Micros, PeerId, PlanId, Term
from swarmdem.protocol.catchup import certificate_frame
from swarmdem.protocol.certificates import quorum
from swarmdem.protocol.events import Effect, Publish
from swarmdem.protocol.plans import Base
from swarmdem.protocol.shortening import shorten_certificate
from swarmdem.protocol.voting import spread
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Frame, Sealer
from swarmdem.wire.messages import NORMAL, Certificate, Plan, SignedVote, Vote
from swarmdem.wire.shortened import ShortCertificate, numbers_in
from swarmdem.wire.signing import peer_id


class Telling:
    """What one peer still has to tell of the certificate it stands on."""

    def __init__(self, sealer: Sealer, charter: Charter) -> None:
        self.at: Micros | None = None
        """When it tells, unless somebody else does before."""
        self._sealer = sealer
        self._charter = charter
        self._keys: Mapping[PeerId, bytes] = {}
        """Of those entitled to vote, as far as known: the votes of others are not counted."""

    def heard(self, ours: Base, sender: PeerId, told: Certificate | ShortCertificate) -> None:
        """Take note that *sender* told a certificate: where it is *ours*, nobody needs to hear it again."""
        if self.at is None or ours.plan is None or all(entry.peer != sender for entry in ours.plan.entries):
            return
        entitled = _entitled(ours.plan)
        votes = _votes_in(told, PlanId(ours.id), entitled, self._keys)
        if len(votes) >= quorum(self._charter, len(entitled)) and self._genuine(votes, ours, told.term):
            self.at = None

    def _genuine(self, votes: Mapping[PeerId, SignedVote], ours: Base, term: Term) -> bool:
        """Return whether all *votes* were cast for *ours* in this *term*; those held here surely were."""
        plan, certificate = ours.plan, ours.certificate
        if plan is None or certificate is None or certificate.term != term:
            return False
        content, held = Vote(plan.base, plan.mode, term, PlanId(ours.id)), frozenset(certificate.votes)
        return all(v in held or self._sealer.proves(v, content) == peer for peer, v in votes.items())

    def certified(
        self, base: Base, leader: PeerId | None, authors: Mapping[PeerId, Frame], time: Micros
    ) -> list[Effect]:
        """Tell, now or later, of a certificate that the votes have just made here.

        Args:
            base: What it is of.
            leader: Who proposed it, if known.
            authors: Frames of this round and the one before by their authors, among them the electors.
            time: Connected time.
        """
        if leader == self._sealer.peer:
            return [self._told(base)]
        patience = self._charter.patience_us
        self._keys = {peer: frame.public_key for peer, frame in authors.items()}
        self.at = time + patience // 16 + spread(self._sealer.peer, base.id, patience // 8)
        return []

    def due(self, base: Base, time: Micros) -> list[Effect]:
        """Tell of the certificate of *base* if it is time and nobody else did."""
        if self.at is None or time < self.at:
            return []
        self.at = None
        return [self._told(base)]

    def deadlines(self) -> list[Micros]:
        """Return when `due` has something to do."""
        return [] if self.at is None else [self.at]

    def _told(self, base: Base) -> Publish:
        return Publish(certificate_frame(self._sealer, base), short=shorten_certificate(self._sealer, base))


def _entitled(plan: Plan) -> list[PeerId]:
    return [entry.peer for entry in plan.entries if (entry.elector if plan.mode == NORMAL else entry.listed)]


def _votes_in(
    told: Certificate | ShortCertificate,
    plan: PlanId,
    entitled: Sequence[PeerId],
    keys: Mapping[PeerId, bytes],
) -> dict[PeerId, SignedVote]:
    """Return the votes for *plan* that *told* carries of those *entitled*, one of each."""
    if isinstance(told, Certificate):
        named = {peer_id(v.public_key): v for v in told.votes} if codec.plan_id(told.plan) == plan else {}
        return {peer: named[peer] for peer in entitled if peer in named}
    numbers, joined = numbers_in(told.voters), told.signatures
    if told.plan != plan or (numbers and numbers[-1] >= len(entitled)):
        return {}
    signed = {entitled[number]: joined[64 * at : 64 * at + 64] for at, number in enumerate(numbers)}
    return {peer: SignedVote(keys[peer], s) for peer, s in signed.items() if peer in keys}
