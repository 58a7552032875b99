"""Who tells the others of a new certificate: its leader at once, another holder later if nobody did.

Where everybody gets every vote all hold the certificate at the same moment. So the others give what the
leader says patience / 16 to arrive, and then wait for each other.
"""

from swarmdem.identifiers import Micros, PeerId
from swarmdem.protocol.catchup import certificate_frame
from swarmdem.protocol.events import Effect, Publish
from swarmdem.protocol.plans import Base
from swarmdem.protocol.shortening import shorten_certificate
from swarmdem.protocol.voting import spread
from swarmdem.wire.frame import Sealer


class Telling:
    """What one peer still has to tell of the certificate it stands on."""

    def __init__(self, sealer: Sealer, patience: Micros) -> None:
        self.at: Micros | None = None
        """When it tells, unless somebody else does before."""
        self._sealer = sealer
        self._patience = patience
        self._heard = b""

    def heard(self, plan: bytes) -> None:
        """Note that somebody told everybody of the certificate of *plan*."""
        self._heard = plan

    def certified(self, base: Base, leader: PeerId | None, time: Micros) -> list[Effect]:
        """Tell, now or later, of a certificate that the votes have just made here."""
        if leader == self._sealer.peer:
            return [self._told(base)]
        wait = spread(self._sealer.peer, base.id, self._patience // 8)
        self.at = time + self._patience // 16 + wait
        return []

    def due(self, base: Base, time: Micros) -> list[Effect]:
        """Tell of the certificate of *base* if it is time and nobody else did."""
        if self.at is None or time < self.at:
            return []
        self.at = None
        return [] if self._heard == base.id else [self._told(base)]

    def deadlines(self) -> list[Micros]:
        """Return when `due` has something to do."""
        return [] if self.at is None else [self.at]

    def _told(self, base: Base) -> Publish:
        return Publish(certificate_frame(self._sealer, base), short=shorten_certificate(self._sealer, base))
