"""Who tells the others of a new certificate: its leader at once, another holder later if nobody did.

Where everybody gets every vote all hold the certificate at the same moment. So the others give what the
leader says patience / 16 to arrive, and then wait for each other. Only what proves itself spares them the
telling: enough votes that were verified (`Agreement.told`), or the word of a peer that the plan names, of
enough votes of which none is unlike one held here. Votes not held here are not checked: a peer that lies can
keep a holder silent, and who lacks the certificate then gets it by asking, as after any lost message.
"""

from collections.abc import Mapping

from swarmdem.identifiers import Micros, PeerId
from swarmdem.protocol.catchup import certificate_frame
from swarmdem.protocol.certificates import quorum
from swarmdem.protocol.events import Effect, Publish
from swarmdem.protocol.plans import Base
from swarmdem.protocol.shortening import shorten_certificate
from swarmdem.protocol.voting import spread
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import Sealer
from swarmdem.wire.messages import NORMAL, Certificate, SignedVote
from swarmdem.wire.shortened import ShortCertificate, numbers_in
from swarmdem.wire.signing import peer_id


class Telling:
    """What one peer still has to tell of the certificate it stands on."""

    def __init__(self, sealer: Sealer, charter: Charter) -> None:
        self.at: Micros | None = None
        """When it tells, unless somebody else does before."""
        self._sealer = sealer
        self._charter = charter

    def heard(self, ours: Base, sender: PeerId, told: Certificate | ShortCertificate) -> None:
        """Take note that *sender* told a certificate: where it is *ours*, nobody needs to hear it again."""
        if self.at is not None and _tells(ours, sender, told, self._charter):
            self.at = None

    def certified(self, base: Base, leader: PeerId | None, time: Micros) -> list[Effect]:
        """Tell, now or later, of a certificate that the votes have just made here."""
        if leader == self._sealer.peer:
            return [self._told(base)]
        patience = self._charter.patience_us
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


def _tells(ours: Base, sender: PeerId, told: Certificate | ShortCertificate, charter: Charter) -> bool:
    """Return whether *sender*, a peer of our plan, tells that plan with enough votes, none unlike ours."""
    plan, certificate = ours.plan, ours.certificate
    if plan is None or certificate is None or certificate.term != told.term:
        return False
    if all(entry.peer != sender for entry in plan.entries):
        return False
    entitled = [e.peer for e in plan.entries if (e.elector if plan.mode == NORMAL else e.listed)]
    if isinstance(told, Certificate):
        votes = _signatures(told.votes) if codec.plan_id(told.plan) == ours.id else {}
    else:
        votes = _numbered(told, entitled) if told.plan == ours.id else {}
    enough = len(votes.keys() & set(entitled)) >= quorum(charter, len(entitled))
    held = _signatures(certificate.votes)
    return enough and all(held.get(peer, signature) == signature for peer, signature in votes.items())


def _signatures(votes: tuple[SignedVote, ...]) -> Mapping[PeerId, bytes]:
    return {peer_id(vote.public_key): vote.signature for vote in votes}


def _numbered(told: ShortCertificate, electors: list[PeerId]) -> Mapping[PeerId, bytes]:
    numbers, joined = numbers_in(told.voters), told.signatures
    if numbers and numbers[-1] >= len(electors):
        return {}
    return {electors[number]: joined[64 * at : 64 * at + 64] for at, number in enumerate(numbers)}
